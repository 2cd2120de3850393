"""Start and end of the windows of a video: sliding, or dynamic at changes of the image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.long_video.change import Change

_SAME_TIME_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of a video, in seconds from its start."""

    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Sliding:
    """Windows of `segment_s` that start every `stride_s`.

    The last one is shifted back to end with the video; a video shorter than a window is one window. Windows
    overlap by `segment_s - stride_s`. Raises ValueError for lengths that are not positive, and for a stride that
    leaves gaps.
    """

    segment_s: float = 2.0
    stride_s: float = 1.0

    def __post_init__(self) -> None:
        if self.segment_s <= 0 or self.stride_s <= 0:
            raise ValueError(
                f"windows of {self.segment_s:g} s that start every {self.stride_s:g} s: both must be more than 0"
            )
        if self.stride_s > self.segment_s:
            raise ValueError(
                f"windows of {self.segment_s:g} s that start every {self.stride_s:g} s leave parts of the video "
                "out; give a stride of at most the length"
            )


@dataclass(frozen=True, kw_only=True)
class Dynamic:
    """Windows that end where the image changes, with a length of `min_s` to `max_s`.

    `change` is the threshold of the colour difference from the window so far; see `change.py`. Raises ValueError
    for lengths that are not positive or not in ascending order, and for a change outside 0..1.
    """

    min_s: float = 1.0
    max_s: float = 8.0
    change: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.min_s <= self.max_s:
            raise ValueError(
                f"windows of at least {self.min_s:g} s and at most {self.max_s:g} s: the minimum must be more "
                "than 0 and at most the maximum"
            )
        if not 0 < self.change < 1:
            raise ValueError(f"a change of {self.change:g} is not between 0 and 1")


Windows = Sliding | Dynamic

Still = Callable[[], float]
"""Returns the time until which nothing changes since the last window; -inf if something changes in it."""


def never_still() -> float:
    """Every window has a change."""
    return -math.inf


def sliding(
    rule: Sliding, *, start_s: float, end_s: float, still_until_s: Still = never_still
) -> Iterator[Window]:
    """The windows of a video from `start_s` to `end_s`, in order.

    Consecutive windows without any change are merged, whatever their length: a video may be still for hours.

    >>> rule = Sliding(segment_s=4.0, stride_s=2.0)
    >>> [(window.start_s, window.end_s) for window in sliding(rule, start_s=0.0, end_s=7.0)]
    [(0.0, 4.0), (2.0, 6.0), (3.0, 7.0)]
    """
    number, reached_s, whole = 0, start_s, _whole_windows(rule, start_s=start_s, end_s=end_s)
    while number < whole:
        begin_s = start_s + number * rule.stride_s
        reached_s = min(begin_s + rule.segment_s, end_s)
        yield Window(start_s=begin_s, end_s=reached_s)
        number += 1
        alike = _whole_windows(rule, start_s=start_s, end_s=min(end_s, still_until_s()))
        if alike > number + 1:
            begin_s, reached_s = (
                start_s + number * rule.stride_s,
                start_s + (alike - 1) * rule.stride_s + rule.segment_s,
            )
            reached_s = min(reached_s, end_s)
            yield Window(start_s=begin_s, end_s=reached_s)
            number = alike
    if reached_s < end_s - _SAME_TIME_S:
        yield Window(start_s=max(start_s, end_s - rule.segment_s), end_s=end_s)


def last_sliding(rule: Sliding, *, start_s: float, end_s: float) -> Window:
    """The last window."""
    whole = _whole_windows(rule, start_s=start_s, end_s=end_s)
    begin_s = start_s + (whole - 1) * rule.stride_s
    if whole and begin_s + rule.segment_s >= end_s - _SAME_TIME_S:
        return Window(start_s=begin_s, end_s=min(begin_s + rule.segment_s, end_s))
    return Window(start_s=max(start_s, end_s - rule.segment_s), end_s=end_s)


def _whole_windows(rule: Sliding, *, start_s: float, end_s: float) -> int:
    """Number of windows that end by `end_s` without a shift."""
    room_s = end_s - start_s - rule.segment_s + _SAME_TIME_S
    if room_s < 0:
        return 0
    return math.floor(room_s / rule.stride_s) + 1


def dynamic(
    rule: Dynamic,
    pictures: Iterable[tuple[float, np.ndarray]],
    *,
    start_s: float,
    end_s: float,
    still_until_s: Still = never_still,
) -> Iterator[Window]:
    """The windows of a video whose frames are `pictures`: (presentation time, uint8 `H W 3`), in order.

    A window is yielded when the first frame after it arrives. A remainder shorter than `min_s` becomes a window of
    `min_s` that overlaps the previous one. A still part after a window without change is one window, whatever its
    length.
    """
    begin_s, change = start_s, Change()
    for time_s, picture in pictures:
        while time_s >= begin_s + rule.max_s - _SAME_TIME_S:
            yield Window(start_s=begin_s, end_s=begin_s + rule.max_s)
            begin_s, change = begin_s + rule.max_s, Change()
            if (alike_s := min(still_until_s(), time_s)) > begin_s + rule.max_s:
                yield Window(start_s=begin_s, end_s=alike_s)
                begin_s = alike_s
        changed = change.of(picture) > rule.change
        if changed and time_s >= begin_s + rule.min_s - _SAME_TIME_S:
            yield Window(start_s=begin_s, end_s=time_s)
            begin_s, change, changed = time_s, Change(), False
        if not changed:  # a change before the minimum length still counts afterwards
            change.add(picture)
    while end_s > begin_s + rule.max_s + _SAME_TIME_S:
        yield Window(start_s=begin_s, end_s=begin_s + rule.max_s)
        begin_s += rule.max_s
        if (alike_s := min(still_until_s(), end_s)) > begin_s + rule.max_s:
            yield Window(start_s=begin_s, end_s=alike_s)
            begin_s = alike_s
    if end_s > begin_s + _SAME_TIME_S:
        yield Window(start_s=max(start_s, min(begin_s, end_s - rule.min_s)), end_s=end_s)
