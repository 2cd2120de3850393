"""`percentile`: limits that clip a fixed share of the values on each side.

Source: Wu et al. 2020, "Integer Quantization for Deep Learning Inference: Principles and Empirical Evaluation",
section 5.1, where 99.99 and 99.999 % serve all networks.
"""

from __future__ import annotations

import torch

from export.quantize.ranges.histogram import BINS, Histogram, Limits, RangeMethod


def percentile_limits(histogram: Histogram, *, percentile: float) -> Limits:
    """The `percentile` of the values and its mirror, `100 - percentile`, rounded outwards to bin edges."""
    below = histogram.counts.double().cumsum(0)
    above = float(below[-1]) * percentile / 100
    cut = float(below[-1]) - above
    last = int(torch.searchsorted(below, above)) + 1
    first = int(torch.searchsorted(below, cut, right=True))
    low, high = ((edge - BINS) * histogram.width for edge in (first, last))
    return max(low, histogram.low), min(high, histogram.high)


PERCENTILE = RangeMethod(search=percentile_limits, settings=("percentile",))
