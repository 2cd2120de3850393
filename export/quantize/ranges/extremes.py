"""`minmax`: the smallest and the largest value of the calibration clips."""

from __future__ import annotations

from export.quantize.ranges.histogram import Histogram, Limits, RangeMethod


def extremes(histogram: Histogram) -> Limits:
    """The extremes; nothing is clipped."""
    return histogram.low, histogram.high


MINMAX = RangeMethod(search=extremes)
