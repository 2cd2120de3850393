"""Timestamps of packets, and the tracks that they form."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field

import numpy as np

_WITHOUT_STAMPS = 0.1
"""Share of packets without a timestamp above which frames are counted instead."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """Start, end and packet times of a video or audio stream."""

    index: int
    """Index of the stream in the file."""
    times_s: np.ndarray
    """Sorted presentation times of the packets."""
    interval_s: float
    """Typical time between frames."""
    end_s: float
    timed: bool
    """False when the file has no timestamps and frames are assumed to be evenly spaced."""
    shown_s: np.ndarray | None = None
    """Presentation times of the decoded frames, in order; None: use the timestamps of the frames."""

    @property
    def start_s(self) -> float:
        """Presentation time of the first packet."""
        return float(self.times_s[0])


@dataclass(kw_only=True)
class Stamps:
    """Times and durations of the packets of a stream, in 16 bytes per packet: an hour has hundreds of thousands."""

    times_s: array[float] = field(default_factory=lambda: array("d"))
    """NaN for a packet without a timestamp."""
    durations_s: array[float] = field(default_factory=lambda: array("d"))
    first_decoded_s: float = math.inf
    """The earliest decoding time."""
    last_decoded_s: float = -math.inf
    """The latest decoding time."""

    @property
    def any_given(self) -> bool:
        """Whether any packet has a timestamp."""
        return not np.isnan(self.times_s).all()


def track_of(
    index: int, stamps: Stamps, *, origin_s: float, rate_hz: float | None, timed: bool
) -> Track | None:
    """The track of packets with these timestamps; None without packets."""
    if not stamps.times_s:
        return None
    times_s, durations_s = np.array(stamps.times_s) - origin_s, np.array(stamps.durations_s)
    missing = np.isnan(times_s)
    if missing.any() and missing.mean() > _WITHOUT_STAMPS:
        times_s = _filled(times_s, durations_s, rate_hz=rate_hz)
        missing = np.isnan(times_s)
    times_s, durations_s = times_s[~missing], durations_s[~missing]
    order = np.lexsort((durations_s, times_s))
    times_s, durations_s = times_s[order], durations_s[order]
    steps = np.diff(times_s)
    steps = steps[steps > 0]
    if not timed and rate_hz:
        interval_s = 1 / rate_hz
    else:
        interval_s = float(np.median(steps)) if len(steps) else 1 / rate_hz if rate_hz else 0.04
    if len(times_s) and timed:
        return Track(
            index=index,
            times_s=times_s,
            interval_s=interval_s,
            end_s=float(times_s[-1]) + (float(durations_s[-1]) or interval_s),
            timed=True,
        )
    count = len(stamps.times_s)
    return Track(
        index=index,
        times_s=np.arange(count) * interval_s,
        interval_s=interval_s,
        end_s=count * interval_s,
        timed=False,
    )


def _filled(times_s: np.ndarray, durations_s: np.ndarray, *, rate_hz: float | None) -> np.ndarray:
    """Fills missing times, each one interval after the previous one, as program streams need it."""
    lasting = durations_s[durations_s > 0]
    interval_s = float(np.median(lasting)) if len(lasting) else 1 / rate_hz if rate_hz else 0.04
    numbers = np.arange(len(times_s))
    known = np.maximum.accumulate(np.where(np.isnan(times_s), -1, numbers))
    return np.where(known < 0, np.nan, times_s[known] + (numbers - known) * interval_s)
