"""Histograms of activations, from which range methods choose the limits of int8."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 2048
"""Bins on each side of zero."""

LEVELS = 256
"""Number of int8 values."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of values in bins of equal width, with a bin edge at zero."""

    counts: Tensor
    """`2 * BINS` counts; bin `k` covers `(k - BINS) * width` up to one width more."""
    width: float
    low: float
    """Smallest value seen."""
    high: float
    """Largest value seen."""

    @property
    def centres(self) -> Tensor:
        """The middle of every bin."""
        return (torch.arange(-BINS, BINS) + 0.5) * self.width


Limits = tuple[float, float]
"""Smallest and largest value that int8 represents."""


@dataclass(frozen=True, kw_only=True)
class RangeMethod:
    """One row of `RANGES`."""

    search: Callable[..., Limits]
    """The limits for a `Histogram`, which is the first argument."""
    settings: tuple[str, ...] = ()
    """Keys of the stage `quantize` that are arguments of `search`."""


def added(counts: Tensor, width: float, values: Tensor) -> tuple[Tensor, float]:
    """Counts and width after `values` were added; the width is doubled until the bins hold them.

    Doubling joins pairs of bins, so counts remain exact.
    """
    peak = float(values.abs().max())
    if width == 0:
        width = peak / BINS
    if width == 0:
        return counts, width  # zeros alone: their range is known without a histogram
    if peak > width * BINS:
        joined = 2 ** math.ceil(math.log2(peak / (width * BINS)))
        counts, width = _joined(counts, min(joined, BINS)), width * joined
    bins = (values / width).floor().long().add_(BINS).clamp_(0, 2 * BINS - 1)
    return counts + torch.bincount(bins, minlength=2 * BINS).to(counts.dtype), width


def _joined(counts: Tensor, count: int) -> Tensor:
    """`counts` with every `count` bins joined, on each side of zero."""
    joined = torch.zeros_like(counts)
    per_side = BINS // count
    joined[BINS - per_side : BINS + per_side] = counts.reshape(-1, count).sum(1)
    return joined
