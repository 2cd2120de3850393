"""Statistics of paired answers: two networks or files on the same clips, which are cut from files.

Clips of one file are correlated, so files are the units that are resampled or exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_DRAWS = 10_000
_AT_ONCE = 500
_NUISANCE = 80
"""Points at which an exact p-value is maximised over the unknown share of gains."""
_NEGLIGIBLE = 1e-9
"""Probability of outcomes that are left out, which is added to the p-value."""


class Totals(NamedTuple):
    """Sums over the clips of each file, and their numbers of clips."""

    values: np.ndarray
    clips: np.ndarray


def by_file(values: np.ndarray, files: Sequence[object]) -> Totals:
    """Sums of `values` (`... N`, one per clip) over the clips of each file: `... F`."""
    _, owner = np.unique(np.asarray(files), return_inverse=True)
    clips = np.bincount(owner)
    flat = np.reshape(values, (-1, len(owner))).astype(float)
    sums = np.stack([np.bincount(owner, weights=row, minlength=len(clips)) for row in flat])
    return Totals(sums.reshape(*np.shape(values)[:-1], len(clips)), clips)


def excess_p(totals: np.ndarray) -> float:
    """One-sided p-value of a sum of differences above 0, by exchanging both sides of whole files.

    `totals` has one difference per file. If neither side is worse, each has either sign with equal probability
    (Fisher 1935, The Design of Experiments, section 21). Exact for whole numbers, as the mid-p-value: with one clip
    per file, this is the mid-p McNemar test (Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology
    13:91: it keeps its level, and has more power than the exact conditional test). For other numbers, 10,000 draws
    with a fixed seed.
    """
    sizes = np.abs(totals[totals != 0])
    if len(sizes) == 0:
        return 1.0
    if np.array_equal(sizes, np.rint(sizes)):
        return _exact_excess_p(sizes.astype(int), int(totals.sum()))
    random = np.random.default_rng(0)
    observed, tolerance = totals.sum(), 1e-12 * sizes.sum()
    as_large = 0
    for begin in range(0, _DRAWS, _AT_ONCE):
        signs = random.integers(0, 2, (min(_AT_ONCE, _DRAWS - begin), len(sizes)), dtype=np.int8)
        as_large += int(((2.0 * signs - 1) @ sizes >= observed - tolerance).sum())
    return (1 + as_large) / (1 + _DRAWS)


def _exact_excess_p(sizes: np.ndarray, observed: int) -> float:
    """Mid-p-value of a sum of `observed` under random signs of whole numbers."""
    from scipy.stats import binom

    chances = np.ones(1)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        spread = np.zeros(2 * count * size + 1)
        spread[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, spread)
    place = observed + int(sizes.sum())  # sums go from -sizes.sum() to sizes.sum()
    return float(min(1.0, chances[place + 1 :].sum() + 0.5 * chances[place]))


def share_p_values(losses: int, gains: int, clips: int, *, drop: float) -> tuple[float, float]:
    """P-values of "the drop is below `drop`" and "the drop is above `drop`", a share above 0, from paired answers.

    `losses` of the `clips` are right in the baseline alone, `gains` in the candidate alone; both p-values are exact
    and unconditional: the largest over the unknown share of gains, with outcomes ordered by the score statistic
    (Tango 1998, Statistics in Medicine 17:891-908; Hsueh, Liu and Chen 2001, Biometrics 57:478-483). The
    asymptotic score test alone would exceed its level where few clips differ.
    """
    from scipy.special import bdtr, bdtrc, gammaln, xlogy

    observed = float(drop_score(losses, gains, clips, drop))
    won = np.arange(clips + 1)
    fewest = _first_below(observed, won, clips, drop, strict=True)
    at_most = _first_below(observed, won, clips, drop, strict=False)
    most = (1 - drop) / 2
    gain = np.array([0.0, *np.geomspace(min(1e-2 / clips, most / 2), most, _NUISANCE)])[:, None]
    ways = gammaln(clips + 1) - gammaln(won + 1) - gammaln(clips - won + 1)
    weights = np.exp(ways + xlogy(won, gain) + xlogy(clips - won, 1 - gain))
    row, column = np.nonzero(weights > _NEGLIGIBLE / clips)
    chance = np.zeros((2, *weights.shape))
    rest, loss = (clips - won)[column], ((gain + drop) / (1 - gain))[row, 0]
    loss = np.minimum(loss, 1.0)
    for which, bound, tail, outside in ((0, fewest, bdtr, 0.0), (1, at_most, bdtrc, 1.0)):
        below = bound[column] - 1
        values = tail(np.maximum(below, 0), rest, loss)
        chance[which, row, column] = np.where(below < 0, outside, values)
    within, worse = (chance * weights).sum(axis=2).max(axis=1) + _NEGLIGIBLE
    return float(min(1.0, within)), float(min(1.0, worse))


def drop_score(losses: ArrayLike, gains: ArrayLike, clips: int, drop: float) -> np.ndarray:
    """Tango's score statistic of a drop of `drop`, a share: large where fewer clips are lost than that.

    For a drop of 0 it is the negative of McNemar's.
    """
    losses, gains = np.asarray(losses), np.asarray(gains)
    turn = losses * (1 + drop) + gains * (1 - drop) - 2 * clips * drop
    gain = (turn + np.sqrt(turn**2 + 8 * clips * gains * drop * (1 - drop))) / (4 * clips)
    return (clips * drop - (losses - gains)) / np.sqrt(clips * (2 * gain + drop - drop**2))


def _first_below(observed: float, gains: np.ndarray, clips: int, drop: float, *, strict: bool) -> np.ndarray:
    """For each number of gains, the fewest losses with a score below (or, if not `strict`, at most) `observed`.

    The score falls with the losses, which a bisection uses. One more than possible where there are none.
    """
    low, high = np.zeros_like(gains), clips - gains + 1
    margin = -1e-9 if strict else 1e-9
    while (low < high).any():
        middle = (low + high) // 2
        found = drop_score(middle, gains, clips, drop) <= observed + margin
        active = low < high
        high = np.where(active & found, middle, high)
        low = np.where(active & ~found, middle + 1, low)
    return low


def design_effect(differences: np.ndarray, files: Sequence[str]) -> float:
    """Factor by which correlated clips of one file increase the variance of a mean of differences; at least 1.

    The ratio of the variance over files to that over clips (Rao and Scott 1992, Biometrics 48:577-585): counts of
    clips divided by it can be analysed as independent. Without any difference there is nothing to estimate it
    from, and every file counts as one clip.
    """
    totals, clips = by_file(differences, files)
    if len(clips) == len(differences):
        return 1.0
    whole = len(differences) / len(clips)
    if not differences.any() or len(clips) < 2:
        return whole
    mean = differences.mean()
    over_files = ((totals - clips * mean) ** 2).sum() * len(clips) / (len(clips) - 1)
    over_clips = ((differences - mean) ** 2).sum()
    return float(max(1.0, over_files / over_clips)) if over_clips > 0 else whole


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, in the given order (Holm 1979, Scandinavian J. of Statistics 6:65-70)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted
