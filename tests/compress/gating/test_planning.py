"""What clips and rounds can find: power, numbers of clips, and boundaries of several looks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compress.gating.looks import boundaries, z_value
from compress.gating.planning import clips_needed, more_needed, power, smallest_drop
from compress.paired import excess_p


@pytest.mark.parametrize(
    ("clips", "flips", "least"), [(400, 0.0275, 0.8), (400, 0.02, 0.95), (800, 0.05, 0.8), (1600, 0.1, 0.8)]
)
def test_two_points_are_found_with_the_promised_power(clips, flips, least):
    """The test itself on drawn answers, against the formula that plans it."""
    planned = power(clips, flips=flips, drop=0.02, alpha=0.05)
    loss, gain = (flips + 0.02) / 2, (flips - 0.02) / 2
    random = np.random.default_rng(0)
    counts = random.multinomial(clips, (loss, gain, 1 - loss - gain), size=2000)
    levels = {
        pair: excess_p(np.repeat([1.0, -1.0], pair)) for pair in {(b, c) for b, c, _ in counts.tolist()}
    }
    found = np.mean([levels[b, c] <= 0.05 for b, c, _ in counts.tolist()])
    assert planned >= least
    assert found == pytest.approx(planned, abs=0.03)


@pytest.mark.parametrize(("clips", "flips"), [(400, 0.0275), (800, 0.05), (100, 0.2)])
def test_false_alarms_stay_below_the_level(clips, flips):
    random = np.random.default_rng(1)
    counts = random.multinomial(clips, (flips / 2, flips / 2, 1 - flips), size=4000).tolist()
    levels = {pair: excess_p(np.repeat([1.0, -1.0], pair)) for pair in {(b, c) for b, c, _ in counts}}
    assert np.mean([levels[b, c] <= 0.05 for b, c, _ in counts]) <= 0.055


@pytest.mark.parametrize("clips", [60, 400, 1600])
def test_the_exact_rate_of_false_alarms_stays_below_the_level(clips):
    """The probability of a significant loss where losses and gains are equally likely, for any share of flips."""
    found = [power(clips, flips=flips, drop=0.0, alpha=0.05) for flips in np.linspace(0.005, 0.3, 40)]
    assert max(found) <= 0.05


def test_plans_agree_with_each_other():
    drop = smallest_drop(400, flips=0.03, alpha=0.05, wanted=0.8)
    assert drop == pytest.approx(0.0207, abs=3e-4)
    needed = clips_needed(flips=0.03, drop=drop, alpha=0.05, wanted=0.8)
    assert needed == pytest.approx(400, rel=0.03)
    assert smallest_drop(3, flips=0.03, alpha=0.05, wanted=0.8) is None
    assert clips_needed(flips=0.5, drop=0.0001, alpha=0.05, wanted=0.8, most=1000) is None


def test_more_data_is_proposed_where_it_would_decide():
    assert more_needed(100, z=1.0, wanted=2.0) == 300
    assert more_needed(100, z=1.99, wanted=2.0) == 11
    assert more_needed(100, z=-1.0, wanted=2.0) is None
    assert more_needed(100, z=0.1, wanted=2.0) is None


@pytest.mark.parametrize(
    ("looks", "alpha", "last"),
    [(1, 0.05, 1.645), (2, 0.05, 1.678), (4, 0.05, 1.733), (4, 0.025, 2.024), (5, 0.025, 2.040)],
)
def test_boundaries_are_the_published_ones(looks, alpha, last):
    """Jennison and Turnbull 2000, Group Sequential Methods, table 2.3 (two-sided levels there)."""
    found = boundaries(looks, alpha=alpha)
    assert found[-1] == pytest.approx(last, abs=1.5e-3)
    assert found == pytest.approx([found[-1] * math.sqrt(looks / k) for k in range(1, looks + 1)])


@pytest.mark.parametrize(("looks", "alpha"), [(4, 0.05), (3, 0.0125)])
def test_chance_exceeds_a_boundary_as_often_as_it_says(looks, alpha):
    steps = np.random.default_rng(2).standard_normal((200_000, looks))
    z = steps.cumsum(1) / np.sqrt(np.arange(1, looks + 1))
    exceeded = (z >= boundaries(looks, alpha=alpha)).any(1).mean()
    assert exceeded == pytest.approx(alpha, abs=4 * math.sqrt(alpha / 200_000))


def test_few_samples_give_smaller_z_values():
    few, many = np.array([0.1, 0.3, 0.2]), np.tile([0.1, 0.3, 0.2], 30)
    assert 0 < z_value(few, above=0.15) < (0.05 * math.sqrt(3) / few.std(ddof=1))
    assert z_value(many, above=0.15) > z_value(few, above=0.15)
    assert z_value(few, above=0.25) == pytest.approx(-z_value(few, above=0.15))
    assert z_value([1.0, 1.0], above=0.5) == math.inf and z_value([1.0, 1.0], above=1.0) == 0
    assert z_value(many, above=-100.0) > 10
