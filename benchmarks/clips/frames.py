"""Frames of clips: one pass through a file gives the frames of all clips cut from it.

The frame at a time is the one that a player shows at that time: the last one whose timestamp is not later.
Colours are taken by the file's own tags (matrix and range) without tone mapping; opacity is ignored;
interlaced frames stay woven; pixels that are not square are made so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from benchmarks.clips.container import (
    TRANSPARENT,
    Alive,
    Clip,
    Cut,
    Media,
    Note,
    Outcome,
    Refusal,
    UnreadableClip,
    opened,
    probe,
    said,
)

if TYPE_CHECKING:
    from models.spec import VideoSpec

_SCALING = (
    Interpolation.BILINEAR
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
    | Interpolation.FULL_CHR_H_INT
)
_LONGEST_TO_SHORTEST = 32
_SAME_TIME_S = 1e-6
_HDR_TRANSFERS = (16, 18)
"""AVColorTransferCharacteristic of PQ and HLG."""


@dataclass(frozen=True, kw_only=True)
class FrameRule:
    """What of a `VideoSpec` decides which pixels are decoded; quick to import, for worker processes."""

    frames: int
    resize: int
    sampling: str
    stride: int

    @classmethod
    def of(cls, video: VideoSpec) -> FrameRule:
        """The rule of a spec; the stride counts only where it is used."""
        stride = video.stride if video.sampling == "strided" else 1
        return cls(frames=video.frames, resize=video.resize, sampling=video.sampling, stride=stride)


def read_frames(path: Path, cuts: Sequence[Cut], rule: FrameRule, *, alive: Alive) -> Iterator[Outcome]:
    """Frames of each cut, uint8 `T R R 3` in RGB: upright, short side resized to R, the middle square.

    `uniform` takes the frames shown at the centres of T equal parts of the span. `strided` takes every
    `stride`-th frame of the span, the chosen ones in its middle; a span with too few frames repeats its last one.

    A clip whose frames come out damaged is refused; damage elsewhere in the file does not matter to it.
    Raises `UnreadableClip` when nothing (more) of the file can be read.
    """
    media = probe(path, alive=alive)
    yield from (Note(text=note) for note in media.notes)
    if media.video is None:
        raise UnreadableClip(path, "has no picture, only sound")
    shown_s = _shown_times(media, alive=alive) if rule.sampling == "strided" else None
    wanted: list[tuple[float, int, int]] = []
    for number, cut in enumerate(cuts):
        try:
            start_s, end_s = media.span(cut)
        except UnreadableClip as fault:
            yield Refusal(cut=number, reason=fault.reason)
            continue
        if shown_s is None:
            times_s = start_s + (np.arange(rule.frames) + 0.5) * (end_s - start_s) / rule.frames
        else:
            times_s = strided(shown_s, start_s=start_s, end_s=end_s, frames=rule.frames, stride=rule.stride)
        wanted += [(float(time_s), number, place) for place, time_s in enumerate(times_s)]
    with opened(path) as container:
        yield from _pick(
            _decoded(container, media, alive=alive), deque(sorted(wanted)), media=media, rule=rule
        )


def strided(shown_s: np.ndarray, *, start_s: float, end_s: float, frames: int, stride: int) -> np.ndarray:
    """Times of `frames` frames, each `stride` frames after the one before, from the middle of the span.

    A span with fewer frames begins with its first and repeats its last one.

    >>> strided(np.arange(10) / 10, start_s=0.0, end_s=1.0, frames=4, stride=2)
    array([0.1, 0.3, 0.5, 0.7])
    """
    inside = shown_s[(shown_s >= start_s - _SAME_TIME_S) & (shown_s < end_s - _SAME_TIME_S)]
    if not len(inside):
        return np.full(frames, start_s)
    first = max(0, (len(inside) - ((frames - 1) * stride + 1)) // 2)
    return inside[np.minimum(first + np.arange(frames) * stride, len(inside) - 1)]


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A decoded frame and when it is shown."""

    frame: VideoFrame
    time_s: float
    intact: bool
    """False from damage on until the next key frame."""
    aspect: float
    """Width of a pixel, its height being 1."""


def _decoded(container: InputContainer, media: Media, *, alive: Alive) -> Iterator[_Shown]:
    """Every frame, in the order of presentation."""
    track = media.video
    assert track is not None
    stream = container.streams[track.index]
    assert isinstance(stream, av.VideoStream)
    if stream.codec_context is None:
        raise UnreadableClip(media.path, "has a picture in a format that FFmpeg cannot decode")
    stream.codec_context.thread_count = 1  # worker processes are the parallelism
    aspect = float(stream.sample_aspect_ratio or 1)
    intact, time_s = True, None
    packets = container.demux(stream)
    while True:
        alive()
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = cast(list[VideoFrame], packet.decode())
        except av.EOFError:
            return
        except (av.FFmpegError, OSError):
            intact = False
            continue
        for frame in frames:
            intact = not frame.is_corrupt and (intact or bool(frame.key_frame))
            if time_s is None and frame.pts is None and track.timed:
                continue  # it belongs before the start of the file
            now_s = _time(frame, media, before_s=time_s)
            if time_s is not None and now_s < time_s - _SAME_TIME_S:
                intact = False  # frames only come in the wrong order when some are lost
                continue
            time_s = now_s
            yield _Shown(frame=frame, time_s=time_s, intact=intact, aspect=aspect)


def _time(frame: VideoFrame, media: Media, *, before_s: float | None) -> float:
    """When a frame is shown; a missing timestamp is one interval after the frame before."""
    track = media.video
    assert track is not None
    if track.timed and frame.pts is not None and frame.time_base is not None:
        return float(frame.pts * frame.time_base) - media.origin_s
    return track.start_s if before_s is None else before_s + track.interval_s


def _shown_times(media: Media, *, alive: Alive) -> np.ndarray:
    """When each frame is shown. Packets do not tell: some hold no frame to show (VP8), some half of one."""
    with opened(media.path) as container:
        return np.array([shown.time_s for shown in _decoded(container, media, alive=alive)])


def _pick(
    frames: Iterable[_Shown], wanted: deque[tuple[float, int, int]], *, media: Media, rule: FrameRule
) -> Iterator[Outcome]:
    """Gives each frame to the clips that want it; `wanted` is (time, number of the cut, place in it), sorted."""
    assert media.video is not None
    shape = (rule.frames, rule.resize, rule.resize, 3)
    begun: dict[int, np.ndarray] = {}
    missing = dict.fromkeys((number for _, number, _ in wanted), rule.frames)
    scaler = VideoReformatter()
    remarks: set[str] = set()
    count = 0

    for shown, following in _with_following(frames):
        count += 1
        square = None
        while wanted and (following is None or wanted[0][0] < following.time_s - _SAME_TIME_S):
            time_s, number, place = wanted.popleft()
            if number not in missing:
                continue
            late = time_s > shown.time_s + media.video.interval_s
            if not shown.intact or (late and following and not following.intact):
                del missing[number]
                begun.pop(number, None)
                reason = f"is damaged: what is shown at {time_s:.2f} s cannot be decoded whole"
                yield Refusal(cut=number, reason=reason)
                continue
            if square is None:
                square = _square(shown, resize=rule.resize, scaler=scaler, path=media.path)
                remarks |= _remarks(shown.frame)
            begun.setdefault(number, np.empty(shape, np.uint8))[place] = square
            missing[number] -= 1
            if not missing[number]:
                del missing[number]
                yield Clip(cut=number, values=begun.pop(number))
        if not wanted:
            break
    for number in missing:
        yield Refusal(cut=number, reason="none of its frames can be decoded")
    if count == 1 and following is None:
        remarks.add("has a single frame, which is repeated")
    yield from (Note(text=text) for text in sorted(remarks))


def _with_following(frames: Iterable[_Shown]) -> Iterator[tuple[_Shown, _Shown | None]]:
    """Each frame with the one that takes its place; the last one stays."""
    last = None
    for shown in frames:
        if last:
            yield last, shown
        last = shown
    if last:
        yield last, None


def _square(shown: _Shown, *, resize: int, scaler: VideoReformatter, path: Path) -> np.ndarray:
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
    except (av.FFmpegError, ValueError) as error:
        raise UnreadableClip(
            path, f"its pixels ({frame.format.name}) cannot be converted: {said(error)}"
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


def _remarks(frame: VideoFrame) -> set[str]:
    """What was left as it is in a frame although a player may do more."""
    remarks = set()
    if frame.color_trc in _HDR_TRANSFERS:
        remarks.add("is HDR; its colours are read without tone mapping and look flat")
    if frame.interlaced_frame:
        remarks.add("is interlaced; its fields are read woven, without deinterlacing")
    if any(component.is_alpha for component in frame.format.components):
        remarks.add(TRANSPARENT)
    return remarks
