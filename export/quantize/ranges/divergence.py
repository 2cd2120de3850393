"""`kl`: the clipping threshold whose int8 distribution diverges least from the distribution of the values.

Source: Migacz 2017, "8-bit Inference with TensorRT", GTC. Thresholds apply to magnitudes, for both signs. As in
NVIDIA's pytorch-quantization, the bin at zero counts like the next one: zeros are exact for any threshold, and the
many zeros of ReLU would otherwise favour thresholds so small that no other value shares their level.
"""

from __future__ import annotations

import torch
from torch import Tensor

from export.quantize.ranges.histogram import BINS, LEVELS, Histogram, Limits, RangeMethod

_STEP = 16
"""Bins between two thresholds that are tried."""


def least_divergence(histogram: Histogram) -> Limits:
    """The threshold with the least KL divergence, on each side that has values, within the extremes."""
    magnitudes = histogram.counts[BINS:] + histogram.counts[:BINS].flip(0)
    magnitudes[0] = magnitudes[1]
    # Values of one sign have all levels on one side of zero.
    levels = LEVELS // 2 if histogram.low < 0 < histogram.high else LEVELS
    tried = range(levels, BINS + 1, _STEP)
    divergences = [_divergence(magnitudes, bins, levels) for bins in tried]
    threshold = tried[min(range(len(tried)), key=divergences.__getitem__)] * histogram.width
    return max(histogram.low, -threshold), min(histogram.high, threshold)


def _divergence(counts: Tensor, bins: int, levels: int) -> float:
    """KL divergence between `counts`, clipped to the first `bins`, and the same in `levels` values."""
    inside = counts[:bins]
    clipped = inside.clone()
    clipped[-1] += counts[bins:].sum()
    # A level stands for the bins in it that have values, in equal parts.
    level = torch.arange(bins) * levels // bins
    used = (inside > 0).to(counts.dtype)
    totals, members = (torch.zeros(levels).index_add_(0, level, part) for part in (inside, used))
    spread = (totals / members.clamp_min(1))[level] * used
    p, q = clipped / clipped.sum(), spread / spread.sum()
    has = p > 0
    return float((p[has] * (p[has] / q[has]).log()).sum())


KL = RangeMethod(search=least_divergence)
