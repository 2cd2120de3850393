"""The picture of a file: its frames in the order in which they are shown, and each as an upright square.

Colours are taken by the file's own tags (matrix and range) without tone mapping; opacity is ignored;
interlaced frames stay woven; pixels that are not square are made so.

Scaling is FFmpeg's bilinear: where it reduces, the triangle grows with the reduction, plane by plane before colours
are converted. `export/preparation.py` has the formulas, which applications follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from benchmarks.clips.container import TRANSPARENT, UnreadableClip, decoded, message_of, over_limit
from benchmarks.clips.limits import Limits
from benchmarks.clips.processes import Alive
from benchmarks.clips.tracks import Media

_SCALING = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
)
_LONGEST_TO_SHORTEST = 32
SAME_TIME_S = 1e-6
"""Times closer than this are the same."""
_HDR_TRANSFERS = (16, 18)
"""AVColorTransferCharacteristic of PQ and HLG."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A decoded frame and when it is shown."""

    frame: VideoFrame
    time_s: float
    intact: bool
    """False from damage on until the next key frame."""
    aspect: float
    """Width of a pixel, its height being 1."""


def decoded_frames(container: InputContainer, media: Media, *, alive: Alive) -> Iterator[Shown]:
    """Every frame, in the order of presentation."""
    track = media.video
    assert track is not None
    stream = container.streams[track.index]
    assert isinstance(stream, av.VideoStream)
    if stream.codec_context is None:
        raise UnreadableClip(media.path, "has a picture in a format that FFmpeg cannot decode")
    stream.codec_context.thread_count = 1  # worker processes are the parallelism
    aspect = float(stream.sample_aspect_ratio or 1)
    intact, time_s, number = True, None, -1
    frames = decoded(container, stream, path=media.path, limits=media.limits, alive=alive)
    for frame in cast(Iterator[VideoFrame | None], frames):
        if frame is None:
            intact = False
            continue
        number += 1
        intact = not frame.is_corrupt and (intact or bool(frame.key_frame))
        if time_s is None and frame.pts is None and track.timed:
            continue  # it belongs before the start of the file
        if track.shown_s is not None and number < len(track.shown_s):
            now_s = float(track.shown_s[number])
        else:
            now_s = _time(frame, media, before_s=time_s)
        if time_s is not None and now_s < time_s - SAME_TIME_S:
            intact = False  # frames only come in the wrong order when some are lost
            continue
        time_s = now_s
        yield Shown(frame=frame, time_s=time_s, intact=intact, aspect=aspect)


def _time(frame: VideoFrame, media: Media, *, before_s: float | None) -> float:
    """When a frame is shown; a missing timestamp is one interval after the frame before."""
    track = media.video
    assert track is not None
    if track.timed and frame.pts is not None and frame.time_base is not None:
        return float(frame.pts * frame.time_base) - media.origin_s
    return track.start_s if before_s is None else before_s + track.interval_s


def square_of(
    shown: Shown, *, resize: int, scaler: VideoReformatter, path: Path, limits: Limits
) -> np.ndarray:
    """The upright middle square of a frame, uint8 `R R 3`."""
    frame = shown.frame
    width, height = frame.width * shown.aspect, float(frame.height)
    if max(width, height) > _LONGEST_TO_SHORTEST * min(width, height):
        raise UnreadableClip(
            path,
            f"its picture is {frame.width}x{frame.height}: one side is more than "
            f"{_LONGEST_TO_SHORTEST} times the other",
        )
    scale = resize / min(width, height)
    try:
        scaled = scaler.reformat(
            frame,
            width=max(resize, round(width * scale)),
            height=max(resize, round(height * scale)),
            format="rgb24",
            interpolation=_SCALING,
            threads=1,
        )
    except (av.FFmpegError, ValueError, MemoryError) as error:
        if reason := over_limit(error, limits):
            raise UnreadableClip(path, reason) from None
        raise UnreadableClip(
            path, f"its pixels ({frame.format.name}) cannot be converted: {message_of(error)}"
        ) from None
    upright = _upright(scaled.to_ndarray(), frame, path=path)
    top, left = (upright.shape[0] - resize) // 2, (upright.shape[1] - resize) // 2
    return upright[top : top + resize, left : left + resize]


def _upright(pixels: np.ndarray, frame: VideoFrame, *, path: Path) -> np.ndarray:
    """`H W 3` turned and mirrored as the file's display matrix asks.

    The matrix (ISO/IEC 14496-12, 8.2.2: rows a b u, c d v, x y w) takes a point (x, y), y downwards, to
    (a x + c y, b x + d y). Quarter turns and mirrorings are exact; nothing else is taken.
    """
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    if matrix is None:
        return pixels
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32) / 2**16
    straight, turned = min(abs(a), abs(d)), min(abs(b), abs(c))
    if max(abs(b), abs(c)) < 0.01 * straight:
        to_right, to_bottom = a, d
    elif max(abs(a), abs(d)) < 0.01 * turned:
        pixels = pixels.transpose(1, 0, 2)
        to_right, to_bottom = c, b
    else:
        raise UnreadableClip(
            path, f"its display matrix (about {frame.rotation} degrees) is no quarter turn; no other is read"
        )
    return pixels[:: 1 if to_bottom > 0 else -1, :: 1 if to_right > 0 else -1]


def remarks_on(frame: VideoFrame) -> set[str]:
    """What was left as it is in a frame although a player may do more."""
    remarks = set()
    if frame.color_trc in _HDR_TRANSFERS:
        remarks.add("is HDR; its colours are read without tone mapping and look flat")
    if frame.interlaced_frame:
        remarks.add("is interlaced; its fields are read woven, without deinterlacing")
    if any(component.is_alpha for component in frame.format.components):
        remarks.add(TRANSPARENT)
    return remarks
