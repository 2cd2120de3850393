"""Interval of a median that keeps its error rate with few values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

FEWEST = 6
"""Fewest values for a 95 % interval: with n values all lie on one side of the median with probability 2 * 0.5^n."""


def median_interval(
    values: Sequence[float] | np.ndarray, *, error: float = 0.05
) -> tuple[float, float] | None:
    """Interval of the median of the distribution of independent `values`; None if there are too few.

    From the k-th smallest to the k-th largest value. Each value is below the median with probability 1/2, whatever
    the distribution, so the number below it is binomial. `k` is the largest for which the interval misses the
    median with a probability of at most `error`; no distribution makes it more. Thompson, Annals of Mathematical
    Statistics 7 (1936); for performance figures: Le Boudec, Performance Evaluation of Computer and Communication
    Systems, 2010, chapter 2. `compress/studies/intervals.py` compares it with bootstrap intervals.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    count = len(ordered)
    k, missed = 0, 2 * 0.5**count
    while missed <= error and k < count // 2:
        k += 1
        missed += 2 * math.comb(count, k) * 0.5**count
    if k == 0:
        return None
    return float(ordered[k - 1]), float(ordered[count - k])
