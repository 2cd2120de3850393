"""`mse`: the limits with the least squared rounding and clipping error.

Source of the criterion: Sung et al. 2015, "Resiliency of Deep Neural Networks under Quantization", section 3. Both
limits are searched together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from export.quantize.ranges.histogram import LEVELS, Histogram, Limits, RangeMethod

_COARSE = 2.0 ** (-torch.arange(24) / 4)
"""Fractions of the extremes that are tried first, down to 1/54."""

_FINE = torch.linspace(0.86, 1.16, 13)
"""Multiples of the best of them that are tried then."""


def least_error(histogram: Histogram) -> Limits:
    """Limits between zero and the extremes whose int8 values are closest to the values seen."""
    used = histogram.counts > 0
    values, weights = histogram.centres[used], histogram.counts[used]
    extremes = torch.tensor([min(histogram.low, 0.0), max(histogram.high, 0.0)])
    best = extremes
    for factors in (_COARSE, _FINE):
        lows, highs = (_distinct(limit * factors) for limit in best)
        pairs = torch.cartesian_prod(lows, highs).clamp(*extremes.tolist())
        best = pairs[_errors(values, weights, pairs).argmin()]
    return float(best[0]), float(best[1])


def _distinct(limits: Tensor) -> Tensor:
    return limits if bool(limits[0]) else limits[:1]


def _errors(values: Tensor, weights: Tensor, limits: Tensor) -> Tensor:
    """Squared error of the weighted values, rounded within each pair of limits."""
    low, high = limits.T[..., None]
    scale = ((high - low) / (LEVELS - 1)).clamp_min(torch.finfo(torch.float32).tiny)
    zero = (-low / scale).round()
    steps = ((values / scale).round() + zero).clamp(0, LEVELS - 1) - zero
    return ((steps * scale - values).square() * weights).sum(1)


MSE = RangeMethod(search=least_error)
