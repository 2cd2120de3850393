"""Video frames of a file in presentation order, and their conversion to upright squares.

Colours are converted by the file's tags (matrix and range) without tone mapping; alpha is ignored; interlaced
frames are not deinterlaced; pixels that are not square are resampled.

Scaling is FFmpeg's bilinear filter, whose support grows with the reduction, plane by plane before colour
conversion. `export/preparation.py` has the formulas, which applications follow.
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
"""Times that differ by less are equal."""
_HDR_TRANSFERS = (16, 18)
"""AVColorTransferCharacteristic of PQ and HLG."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A decoded frame and its presentation time."""

    frame: VideoFrame
    time_s: float
    intact: bool
    """False after damage until the next key frame."""
    aspect: float
    """Pixel aspect ratio: width / height."""


def decoded_frames(container: InputContainer, media: Media, *, alive: Alive) -> Iterator[Shown]:
    """Yields all frames in presentation order."""
    track = media.video
    assert track is not None
    stream = container.streams[track.index]
    assert isinstance(stream, av.VideoStream)
    if stream.codec_context is None:
        raise UnreadableClip(media.path, "has video in a format that FFmpeg cannot decode")
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
            continue  # it precedes the start of the file
        if track.shown_s is not None and number < len(track.shown_s):
            now_s = float(track.shown_s[number])
        else:
            now_s = _time(frame, media, before_s=time_s)
        if time_s is not None and now_s < time_s - SAME_TIME_S:
            intact = False  # frames are out of order only if some are lost
            continue
        time_s = now_s
        yield Shown(frame=frame, time_s=time_s, intact=intact, aspect=aspect)


def _time(frame: VideoFrame, media: Media, *, before_s: float | None) -> float:
    """Presentation time of a frame; a missing timestamp is one interval after the previous frame."""
    track = media.video
    assert track is not None
    if track.timed and frame.pts is not None and frame.time_base is not None:
        return float(frame.pts * frame.time_base) - media.origin_s
    return track.start_s if before_s is None else before_s + track.interval_s


def square_of(
    shown: Shown, *, resize: int, scaler: VideoReformatter, path: Path, limits: Limits
) -> np.ndarray:
    """The upright centre square of a frame, uint8 `R R 3`."""
    frame = shown.frame
    width, height = frame.width * shown.aspect, float(frame.height)
    if max(width, height) > _LONGEST_TO_SHORTEST * min(width, height):
        raise UnreadableClip(
            path,
            f"its frames are {frame.width}x{frame.height}: one side is more than "
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
    """Rotates and mirrors `H W 3` by the display matrix of the file.

    The matrix (ISO/IEC 14496-12, 8.2.2: rows a b u, c d v, x y w) maps a point (x, y), y downwards, to
    (a x + c y, b x + d y). Only multiples of 90 degrees and mirroring are supported, which are exact.
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
            path,
            f"its display matrix (about {frame.rotation} degrees) is not a multiple of 90 degrees",
        )
    return pixels[:: 1 if to_bottom > 0 else -1, :: 1 if to_right > 0 else -1]


def remarks_on(frame: VideoFrame) -> set[str]:
    """Remarks on properties of a frame that are ignored, although a player may use them."""
    remarks = set()
    if frame.color_trc in _HDR_TRANSFERS:
        remarks.add("is HDR; its colours are read without tone mapping and have low contrast")
    if frame.interlaced_frame:
        remarks.add("is interlaced; its frames are read without deinterlacing")
    if any(component.is_alpha for component in frame.format.components):
        remarks.add(TRANSPARENT)
    return remarks
