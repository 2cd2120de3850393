"""Plans of paired comparisons: what a number of clips can find, and how many would be needed."""

from __future__ import annotations

import math

import numpy as np

_MOST_TIMES = 64
"""Largest multiple of the present data that is proposed."""


def power(clips: int, *, flips: float, drop: float, alpha: float) -> float:
    """Probability that the one-sided mid-p McNemar test finds a true drop; `flips` and `drop` are shares.

    `flips` of the clips change between right and wrong, `(flips + drop) / 2` for the worse. Exact: over the number
    of flips, and over the losses among them.
    """
    from scipy.stats import binom

    flips = max(flips, drop)
    if flips == 0:
        return 0.0
    low, high = binom.ppf((1e-9, 1 - 1e-9), clips, flips).astype(int)
    counts = np.arange(max(1, low), max(1, high) + 1)
    enough = binom.isf(
        alpha, counts, 0.5
    )  # the fewest losses that are significant without the half of the mid-p
    enough += binom.sf(enough, counts, 0.5) + 0.5 * binom.pmf(enough, counts, 0.5) > alpha
    found = binom.sf(enough - 1, counts, (1 + drop / flips) / 2)
    return float(binom.pmf(counts, clips, flips) @ found)


def smallest_drop(clips: int, *, flips: float, alpha: float, wanted: float) -> float | None:
    """The smallest drop, a share, that the test finds with the probability `wanted`; None if there is none.

    Where a drop exceeds `flips`, all flips are losses.
    """
    if power(clips, flips=flips, drop=1.0, alpha=alpha) < wanted:
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        enough = power(clips, flips=flips, drop=middle, alpha=alpha) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def clips_needed(*, flips: float, drop: float, alpha: float, wanted: float, most: int = 10**6) -> int | None:
    """The number of clips with which the test finds the drop with the probability `wanted`; None above `most`."""
    low, high = 1, 64
    while power(high, flips=flips, drop=drop, alpha=alpha) < wanted:
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        enough = power(middle, flips=flips, drop=drop, alpha=alpha) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def more_needed(present: int, *, z: float, wanted: float) -> int | None:
    """How many more clips or rounds would decide, if they are like the present ones: z grows with the square root.

    `z` is the present z-value and `wanted` the bound that it must exceed. None where z points the other way, and
    above 64 times the present number.
    """
    if z <= 0:
        return None
    times = max(1.1, (wanted / z) ** 2)
    return None if times > _MOST_TIMES else max(1, math.ceil((times - 1) * present))
