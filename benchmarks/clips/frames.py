"""Frames of clips: one pass through a file gives the frames of all clips in it.

The frame at a time is the one that a player shows: the last frame whose timestamp is not later.
`pictures` defines the preprocessing of a frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from av.video.reformatter import VideoReformatter

from benchmarks.clips.container import (
    Clip,
    Cut,
    Note,
    Outcome,
    Refusal,
    UnreadableClip,
    opened,
)
from benchmarks.clips.limits import USUAL, Limits
from benchmarks.clips.pictures import SAME_TIME_S, Shown, decoded_frames, remarks_on, square_of
from benchmarks.clips.processes import Alive
from benchmarks.clips.tracks import Media, probe

if TYPE_CHECKING:
    from models.spec import VideoSpec


@dataclass(frozen=True, kw_only=True)
class FrameRule:
    """The fields of a `VideoSpec` that determine the decoded pixels; quick to import, for worker processes."""

    frames: int
    resize: int
    sampling: str
    stride: int
    margin: int = 0
    """Further frames before and after those of the clip, at the same distance, also from outside its span."""

    @classmethod
    def of(cls, video: VideoSpec, *, margin: int = 0) -> FrameRule:
        """The rule of a spec; the stride is ignored where it is unused."""
        stride = video.stride if video.sampling == "strided" else 1
        return cls(
            frames=video.frames, resize=video.resize, sampling=video.sampling, stride=stride, margin=margin
        )

    @property
    def stored(self) -> int:
        """Number of frames with the margins."""
        return self.frames + 2 * self.margin


def read_frames(
    path: Path, cuts: Sequence[Cut], rule: FrameRule, *, limits: Limits = USUAL, alive: Alive
) -> Iterator[Outcome]:
    """Frames of each cut, uint8 `T R R 3` in RGB: upright, short side resized to R, centre square. T includes the
    margins; where the file has no further frames, they repeat the outermost one.

    `uniform` takes the frames at the centres of T equal parts of the span. `strided` takes every `stride`-th frame,
    centred in the span; a span with too few frames repeats its last one.

    A clip with damaged frames is refused; damage elsewhere in the file has no effect on it.
    Raises `UnreadableClip` when the file, or the rest of it, cannot be read.
    """
    media = probe(path, limits=limits, alive=alive)
    yield from (Note(text=note) for note in media.notes)
    if media.video is None:
        raise UnreadableClip(path, "has no video, only audio")
    shown_s = _shown_times(media, alive=alive) if rule.sampling == "strided" else None
    wanted: list[tuple[float, int, int]] = []
    for number, cut in enumerate(cuts):
        try:
            start_s, end_s = media.span(cut)
        except UnreadableClip as fault:
            yield Refusal(cut=number, reason=fault.reason)
            continue
        if shown_s is None:
            times_s = uniform(start_s=start_s, end_s=end_s, frames=rule.frames, margin=rule.margin)
        else:
            times_s = strided(
                shown_s,
                start_s=start_s,
                end_s=end_s,
                frames=rule.frames,
                stride=rule.stride,
                margin=rule.margin,
            )
        wanted += [(float(time_s), number, place) for place, time_s in enumerate(times_s)]
    with opened(path, limits) as container:
        yield from _pick(
            decoded_frames(container, media, alive=alive), deque(sorted(wanted)), media=media, rule=rule
        )


def uniform(*, start_s: float, end_s: float, frames: int, margin: int = 0) -> np.ndarray:
    """Times of the centres of `frames` equal parts of the span, and of `margin` such parts before and after it.

    >>> uniform(start_s=0.0, end_s=1.0, frames=2)
    array([0.25, 0.75])
    >>> uniform(start_s=2.0, end_s=3.0, frames=2, margin=1)
    array([1.75, 2.25, 2.75, 3.25])
    """
    return start_s + (np.arange(-margin, frames + margin) + 0.5) * (end_s - start_s) / frames


def strided(
    shown_s: np.ndarray, *, start_s: float, end_s: float, frames: int, stride: int, margin: int = 0
) -> np.ndarray:
    """Times of `frames` frames at a distance of `stride` frames, centred in the span.

    A span with fewer frames starts at its first and repeats its last one. `margin` further frames before and after
    may be outside the span.

    >>> strided(np.arange(10) / 10, start_s=0.0, end_s=1.0, frames=4, stride=2)
    array([0.1, 0.3, 0.5, 0.7])
    >>> strided(np.arange(10) / 10, start_s=0.4, end_s=0.6, frames=2, stride=1, margin=2)
    array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    """
    inside = shown_s[(shown_s >= start_s - SAME_TIME_S) & (shown_s < end_s - SAME_TIME_S)]
    if not len(inside):
        return np.full(frames + 2 * margin, start_s)
    first = max(0, (len(inside) - ((frames - 1) * stride + 1)) // 2)
    chosen = np.minimum(first + np.arange(frames) * stride, len(inside) - 1)
    further = np.arange(1, margin + 1) * stride
    places = np.concatenate([chosen[0] - further[::-1], chosen, chosen[-1] + further])
    places += int(np.searchsorted(shown_s, inside[0]))
    return shown_s[places.clip(0, len(shown_s) - 1)]


def _shown_times(media: Media, *, alive: Alive) -> np.ndarray:
    """Presentation times of all frames. Packets do not suffice: some hold no visible frame (VP8), some half of
    one."""
    with opened(media.path, media.limits) as container:
        return np.array([shown.time_s for shown in decoded_frames(container, media, alive=alive)])


def _pick(
    frames: Iterable[Shown], wanted: deque[tuple[float, int, int]], *, media: Media, rule: FrameRule
) -> Iterator[Outcome]:
    """Assigns each frame to its clips; `wanted` is (time, number of the cut, position in it), sorted."""
    assert media.video is not None
    shape = (rule.stored, rule.resize, rule.resize, 3)
    begun: dict[int, np.ndarray] = {}
    missing = dict.fromkeys((number for _, number, _ in wanted), rule.stored)
    scaler = VideoReformatter()
    remarks: set[str] = set()
    count = 0

    for shown, following in with_following(frames):
        count += 1
        square = None
        while wanted and (following is None or wanted[0][0] < following.time_s - SAME_TIME_S):
            time_s, number, place = wanted.popleft()
            if number not in missing:
                continue
            late = time_s > shown.time_s + media.video.interval_s
            if not shown.intact or (late and following and not following.intact):
                del missing[number]
                begun.pop(number, None)
                reason = f"is damaged: the frame at {time_s:.2f} s cannot be decoded completely"
                yield Refusal(cut=number, reason=reason)
                continue
            if square is None:
                square = square_of(
                    shown, resize=rule.resize, scaler=scaler, path=media.path, limits=media.limits
                )
                remarks |= remarks_on(shown.frame)
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


def with_following(frames: Iterable[Shown]) -> Iterator[tuple[Shown, Shown | None]]:
    """Pairs each frame with the next one; None after the last."""
    last = None
    for shown in frames:
        if last:
            yield last, shown
        last = shown
    if last:
        yield last, None
