"""Intervals of a median that the study `intervals.py` compares, and simulated latencies.

Every method takes `values`, `comparisons n`, and the medians of their resamples, `comparisons resamples`. It gives
both ends of the 95 % interval of the median, `comparisons` each.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats

from benchmarks.intervals import median_interval

_ERROR = 0.05
_RESAMPLES = 1000

Ends = tuple[np.ndarray, np.ndarray]


def percentile(_: np.ndarray, medians: np.ndarray) -> Ends:
    """Percentile bootstrap. Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13."""
    return _quantile(medians, _ERROR / 2), _quantile(medians, 1 - _ERROR / 2)


def expanded(values: np.ndarray, medians: np.ndarray) -> Ends:
    """Percentile bootstrap at levels that correct for few values, as a t interval does.

    Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69 (2015), pages 371-386.
    """
    count = values.shape[1]
    level = stats.norm.cdf(-math.sqrt(count / (count - 1)) * stats.t.ppf(1 - _ERROR / 2, count - 1))
    return _quantile(medians, level), _quantile(medians, 1 - level)


def bca(values: np.ndarray, medians: np.ndarray) -> Ends:
    """Bias-corrected and accelerated bootstrap. Efron and Tibshirani, chapter 14."""
    count, middle = values.shape[1], np.median(values, axis=1)
    below = (medians < middle[:, None]).mean(1) + (medians == middle[:, None]).mean(1) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / _RESAMPLES, 1 - 1 / _RESAMPLES))
    left_out = np.stack([np.median(np.delete(values, one, axis=1), axis=1) for one in range(count)], axis=1)
    apart = left_out.mean(1, keepdims=True) - left_out
    scale = 6 * (apart**2).sum(1) ** 1.5
    acceleration = np.divide((apart**3).sum(1), scale, out=np.zeros(len(values)), where=scale > 0)
    z = stats.norm.ppf([[_ERROR / 2], [1 - _ERROR / 2]])
    low, high = stats.norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
    return _quantile(medians, low), _quantile(medians, high)


def order_statistics(values: np.ndarray, _: np.ndarray) -> Ends:
    """The method of this project, `benchmarks.intervals.median_interval`, applied to ranks."""
    ranks = median_interval(np.arange(values.shape[1]))
    assert ranks is not None
    ordered = np.sort(values, axis=1)
    return ordered[:, int(ranks[0])], ordered[:, int(ranks[1])]


def student_t(values: np.ndarray, _: np.ndarray) -> Ends:
    """Student's interval, of the mean."""
    count = values.shape[1]
    half = stats.t.ppf(1 - _ERROR / 2, count - 1) * values.std(axis=1, ddof=1) / math.sqrt(count)
    return values.mean(1) - half, values.mean(1) + half


def signed_rank(values: np.ndarray, _: np.ndarray) -> Ends:
    """Exact interval of the pseudomedian, from the signed-rank test. Hodges and Lehmann 1963."""
    count = values.shape[1]
    first, second = np.triu_indices(count)
    averages = np.sort((values[:, first] + values[:, second]) / 2, axis=1)
    ways = np.zeros(count * (count + 1) // 2 + 1)
    ways[0] = 1
    for rank in range(1, count + 1):
        ways[rank:] += ways[:-rank].copy()
    missed = 2 * np.cumsum(ways) / 2**count
    k = int((missed <= _ERROR).sum())
    return averages[:, k - 1], averages[:, -k]


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], Ends]] = {
    "percentile bootstrap": percentile,
    "expanded bootstrap": expanded,
    "BCa bootstrap": bca,
    "Student's t": student_t,
    "signed rank": signed_rank,
    "order statistics": order_statistics,
}


def medians_of_resamples(values: np.ndarray) -> np.ndarray:
    """Medians of resamples in ascending order, `comparisons resamples`.

    All comparisons have the same resamples of ranks, so that each median is between two of their ordered values.
    """
    count = values.shape[1]
    ranks = np.sort(np.random.default_rng(0).integers(count, size=(_RESAMPLES, count)), axis=1)
    ordered = np.sort(values, axis=1)
    return np.sort((ordered[:, ranks[:, (count - 1) // 2]] + ordered[:, ranks[:, count // 2]]) / 2, axis=1)


def _quantile(ascending: np.ndarray, level: float | np.ndarray) -> np.ndarray:
    """Quantiles of the rows of `ascending` at one level, or at one for each row."""
    last = ascending.shape[1] - 1
    place = np.broadcast_to(np.asarray(level) * last, len(ascending))[:, None]
    below = np.floor(place).astype(int)
    low = np.take_along_axis(ascending, below, axis=1)
    high = np.take_along_axis(ascending, np.minimum(below + 1, last), axis=1)
    return (low + (place - below) * (high - low))[:, 0]


Noise = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
"""Logarithms of latencies around their median, `comparisons n`; independent."""


def _normal(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return 0.01 * random.standard_normal(shape)


def _heavy(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return 0.01 * random.standard_t(3, shape)


def _skewed(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return 0.02 * (random.lognormal(0, 1, shape) - 1)


def _delayed(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    late = np.where(random.random(shape) < 0.2, random.exponential(0.5, shape), 0.0)
    return 0.005 * random.standard_normal(shape) + late


def _two_speeds(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return 0.004 * random.standard_normal(shape) + np.where(random.random(shape) < 0.35, 0.12, 0.0)


NOISES: dict[str, Noise] = {
    "normal": _normal,
    "heavy tails (t, 3 degrees of freedom)": _heavy,
    "skewed (lognormal)": _skewed,
    "20 % of rounds delayed": _delayed,
    "two speeds": _two_speeds,
}


def drift(random: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Drift of the speed in the turns of two files, which take turns in random order.

    A random walk, a clock that falls by half over the measurement, and a slow oscillation.
    """
    comparisons, count = shape
    turn = np.arange(2 * count)
    phase = random.uniform(0, 2 * math.pi, (comparisons, 1))
    speed = np.cumsum(random.normal(0, 0.01, (comparisons, 2 * count)), axis=1)
    speed += np.linspace(0, math.log(2), 2 * count) + 0.05 * np.sin(turn / 3 + phase)
    before, after = speed[:, 0::2], speed[:, 1::2]
    first = random.random(shape) < 0.5
    return np.where(first, before, after), np.where(first, after, before)
