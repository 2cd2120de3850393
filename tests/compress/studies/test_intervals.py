"""Study of intervals: the methods, the simulated noise, and the published table."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import bootstrap, wilcoxon

from compress.studies.generated_blocks import block
from compress.studies.interval_methods import (
    METHODS,
    NOISES,
    bca,
    drift,
    medians_of_resamples,
    order_statistics,
    percentile,
    signed_rank,
)
from compress.studies.intervals import table

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(3).lognormal(size=(1, 25))


@pytest.mark.parametrize(("method", "name"), [(percentile, "percentile"), (bca, "BCa")])
def test_bootstraps_agree_with_scipy(values, method, name):
    low, high = method(values, medians_of_resamples(values))
    expected = bootstrap(
        (values[0],), np.median, method=name, n_resamples=5000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert (low[0], high[0]) == pytest.approx(expected, rel=0.1)


def test_the_signed_rank_interval_holds_the_centers_that_the_test_accepts(values):
    (low,), (high,) = signed_rank(values, values)
    for center, accepted in (
        (low - 1e-6, False),
        (low + 1e-6, True),
        (high - 1e-6, True),
        (high + 1e-6, False),
    ):
        assert (wilcoxon(values[0] - center, method="exact").pvalue > 0.05) == accepted


@pytest.mark.parametrize("count", [6, 10, 15, 30])
def test_equal_files_raise_at_most_5_percent_of_false_alarms(count):
    """1,000 comparisons of every noise, with and without drift; three standard errors are allowed."""
    for noise in NOISES.values():
        random = np.random.default_rng(count)
        shape = (1000, count)
        ratios = noise(random, shape) - noise(random, shape)
        one, other = drift(random, shape)
        for logs in (ratios, ratios + one - other):
            low, high = order_statistics(logs, logs)
            assert np.mean((low > 0) | (high < 0)) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)


def test_a_drift_is_shared_by_files_on_average():
    one, other = drift(np.random.default_rng(0), (2000, 10))
    assert abs(np.mean(one - other)) < 0.002 < np.std(one - other)


def test_the_published_table_is_that_of_the_published_figures():
    figures = json.loads((ROOT / "benchmarks/results/intervals.json").read_text())
    assert figures["comparisons"] >= 1000
    assert {row["method"] for row in figures["rows"]} == set(METHODS)
    assert block((ROOT / "docs/measuring.md").read_text(), "intervals") == table(figures)
    ours = [row["false_alarms"] for row in figures["rows"] if row["method"] == "order statistics"]
    assert max(ours) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / figures["comparisons"])
