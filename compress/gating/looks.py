"""Boundaries of a test that looks at its data several times (O'Brien and Fleming 1979, Biometrics 35:549-556)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

_STEP = 0.005
_LOWEST = -12.0
"""Lowest value of the random walk that is followed; what is below it never reaches the boundary."""


@cache
def boundaries(looks: int, *, alpha: float) -> tuple[float, ...]:
    """Bounds of the z-values at equally spaced looks: one of them is exceeded by chance with probability `alpha`.

    Early looks have high bounds, `c * sqrt(looks / k)` at look k. On the scale of the sum of the data they are one
    level; the probability to reach it is integrated numerically from look to look (Armitage, McPherson and Rowe
    1969, J. of the Royal Statistical Society A 132:235-244), and the level found by bisection.
    """
    low, high = 0.0, 10.0 * math.sqrt(looks)
    while high - low > 1e-4:
        level = (low + high) / 2
        low, high = (level, high) if _reached(level, looks) > alpha else (low, level)
    return tuple(high / math.sqrt(look) for look in range(1, looks + 1))


def _reached(level: float, looks: int) -> float:
    """Probability that a random walk with standard normal steps reaches `level` within `looks` steps."""
    from scipy.signal import fftconvolve

    places = np.arange(level - _STEP / 2, _LOWEST, -_STEP)
    density = _normal(places)
    step = _normal(np.arange(-(len(places) - 1), len(places)) * _STEP) * _STEP
    for _ in range(looks - 1):
        density = fftconvolve(density, step, mode="same")
    return 1 - float(density.sum() * _STEP) - _below(looks)


def _below(looks: int) -> float:
    """Probability to be below the lowest value that is followed after the last step."""
    return 0.5 * math.erfc(-_LOWEST / math.sqrt(2 * looks))


def _normal(values: np.ndarray) -> np.ndarray:
    return np.exp(-(values**2) / 2) / math.sqrt(2 * math.pi)


def z_value(samples: Sequence[float] | np.ndarray, *, above: float) -> float:
    """The z-value of the p-value of a t-test that the mean of the samples is above a value.

    Boundaries for z-values of known variance are used with the significance level of a t-test (Jennison and
    Turnbull 2000, Group Sequential Methods, section 3.8). Infinite where samples do not vary.
    """
    from scipy.stats import norm, t

    values = np.asarray(samples)
    distance, spread = values.mean() - above, values.std(ddof=1)
    if spread == 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    # The tail on the side of the distance, whose logarithm keeps its digits.
    tail = t.logsf(abs(distance) * math.sqrt(len(values)) / spread, len(values) - 1)
    return math.copysign(float(norm.isf(math.exp(tail))) if tail > -700 else 37.0, distance)
