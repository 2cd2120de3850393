"""The interval of a median: exact, and as rarely wrong as it says."""

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.intervals import FEWEST, median_interval


@pytest.mark.parametrize(
    ("count", "low", "high"), [(6, 1, 6), (9, 2, 8), (15, 4, 12), (30, 10, 21), (100, 40, 61)]
)
def test_ends_are_those_of_the_published_table(count, low, high):
    """Le Boudec 2010, appendix A: order statistics of the 95 % interval of the median."""
    values = np.random.default_rng(0).permutation(np.arange(1, count + 1))
    assert median_interval(values) == (low, high)


@pytest.mark.parametrize("count", range(FEWEST, 60))
def test_it_is_the_narrowest_that_keeps_the_error(count):
    low, high = median_interval(np.arange(count))
    assert low + high == count - 1
    below = 2 * binom.cdf(low, count, 0.5)
    narrower = 2 * binom.cdf(low + 1, count, 0.5)
    assert below <= 0.05 < narrower


def test_too_few_values_give_none():
    assert median_interval(np.ones(FEWEST - 1)) is None
    assert median_interval([]) is None


@pytest.mark.parametrize("count", [6, 9, 10, 15, 30])
@pytest.mark.parametrize("draw", ["standard_normal", "standard_cauchy", "standard_exponential"])
def test_it_misses_the_median_in_at_most_5_percent(count, draw):
    random = np.random.default_rng(7)
    truth = np.log(2) if draw == "standard_exponential" else 0.0
    found = [median_interval(row) for row in getattr(random, draw)((2000, count))]
    missed = np.mean([not low <= truth <= high for low, high in found])
    expected = 2 * binom.cdf(median_interval(np.arange(count))[0], count, 0.5)
    assert missed == pytest.approx(expected, abs=4 * np.sqrt(expected / 2000))
