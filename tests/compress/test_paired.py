"""Statistics of paired answers, against enumeration and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom, multinomial

from compress.paired import by_file, design_effect, drop_score, excess_p, holm, share_p_values


def test_values_are_added_up_by_file():
    totals, clips = by_file(np.array([[1, 2, 4], [8, 16, 32]]), ["b", "a", "b"])
    assert totals.tolist() == [[2, 5], [16, 40]] and clips.tolist() == [1, 2]


@pytest.mark.parametrize(("losses", "gains"), [(0, 0), (1, 0), (9, 2), (2, 9), (40, 31)])
def test_with_one_clip_per_file_it_is_the_mid_p_mcnemar_test(losses, gains):
    totals = np.repeat([1.0, -1.0, 0.0], (losses, gains, 50))
    discordant = losses + gains
    expected = binom.sf(losses, discordant, 0.5) + 0.5 * binom.pmf(losses, discordant, 0.5)
    assert excess_p(totals) == pytest.approx(expected if discordant else 1.0)


def test_whole_files_are_exchanged():
    totals = np.array([3, -1, 2, 0, 1, 1])
    sums = [np.dot(signs, np.abs(totals)) for signs in itertools.product((-1, 1), repeat=len(totals))]
    expected = np.mean(np.array(sums) > totals.sum()) + 0.5 * np.mean(np.array(sums) == totals.sum())
    assert excess_p(totals) == pytest.approx(expected)


def test_drawn_exchanges_agree_with_all_of_them():
    totals = np.random.default_rng(0).normal(0.4, 1, 12)
    sums = [np.dot(signs, totals) for signs in itertools.product((-1, 1), repeat=12)]
    exact = np.mean(np.array(sums) >= totals.sum() - 1e-9)
    assert excess_p(totals) == pytest.approx(exact, abs=0.01)
    assert excess_p(totals) == excess_p(totals)


def test_correlated_clips_do_not_raise_false_alarms():
    """Eight clips of each file change together: files keep the level, clips exceed it four times."""
    random = np.random.default_rng(1)
    files = np.repeat(np.arange(60), 8)
    found = {"files": 0, "clips": 0}
    for _ in range(400):
        change = np.repeat(random.choice([-1, 0, 1], size=60, p=(0.1, 0.8, 0.1)), 8)
        found["files"] += excess_p(by_file(change, files).values) <= 0.05
        found["clips"] += excess_p(change) <= 0.05
    assert found["files"] / 400 <= 0.07 and found["clips"] / 400 > 0.2


@pytest.mark.parametrize(("losses", "gains", "drop"), [(0, 0, 0.1), (1, 0, 0.2), (6, 1, 0.2), (2, 3, 0.05)])
def test_p_values_of_a_limit_are_those_of_all_outcomes(losses, gains, drop):
    clips = 14
    observed = drop_score(losses, gains, clips, drop)
    expected = [0.0, 0.0]
    pairs = [(b, c) for b in range(clips + 1) for c in range(clips + 1 - b)]
    scores = np.array([float(drop_score(b, c, clips, drop)) for b, c in pairs])
    for gain in np.linspace(0, (1 - drop) / 2, 40):
        rest = max(0.0, 1 - 2 * gain - drop)
        chances = np.array(
            [multinomial.pmf([b, c, clips - b - c], clips, [gain + drop, gain, rest]) for b, c in pairs]
        )
        expected[0] = max(expected[0], chances[scores >= observed - 1e-9].sum())
        expected[1] = max(expected[1], chances[scores <= observed + 1e-9].sum())
    assert share_p_values(losses, gains, clips, drop=drop) == pytest.approx(expected, abs=5e-3)


def test_a_limit_is_exact_where_the_score_test_is_not():
    """133 clips without a flip: the normal approximation says 0.05, but a drop of 2 points gives that in 6.8 %."""
    score = float(drop_score(0, 0, 133, 0.02))
    assert score > 1.64
    within, worse = share_p_values(0, 0, 133, drop=0.02)
    assert within == pytest.approx(0.98**133, rel=1e-4) and worse == 1


def test_the_score_falls_with_the_losses():
    losses, gains = np.meshgrid(np.arange(41), np.arange(41))
    inside = (losses + gains <= 40)[:, 1:]
    for drop in (0.01, 0.1):
        steps = np.diff(drop_score(losses, gains, 40, drop), axis=1)
        assert (steps[inside] < 0).all()


def test_clips_of_one_file_count_as_fewer():
    together = np.repeat([1, -1, 0, 0, 0, 0, 0, 0, 0, 0], 4)
    files = np.repeat(np.arange(10), 4)
    assert design_effect(together, files) == pytest.approx(4, rel=0.15)
    assert design_effect(together, np.arange(40)) == 1
    assert design_effect(np.zeros(40), files) == 4
    alone = np.zeros(40)
    alone[[0, 4]] = 1, -1
    assert design_effect(alone, files) == pytest.approx(1.1, abs=0.12)


def test_many_p_values_are_adjusted():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
