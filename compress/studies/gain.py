"""The gain of one kind of network over another, with an interval over seeds and clips together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compress.paired import by_file

RESAMPLES = 10_000


def gain(after: np.ndarray, before: np.ndarray, *, files: Sequence[str]) -> dict[str, Any]:
    """Difference of top-1 in points: its mean, that of each seed, and a 95 % interval of the mean.

    `after` and `before` are 0 or 1, `seeds` x `clips`: whether each clip is classified correctly; equal rows share
    a seed. Seeds and whole files, since clips of one file are correlated, are resampled independently of each other
    (Owen 2007, "The pigeonhole bootstrap"), which is conservative.
    """
    each = after.astype(float) - before.astype(float)
    totals, counts = by_file(each, files)
    random = np.random.default_rng(0)
    means = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        seeds = random.integers(len(each), size=len(each))
        drawn = np.bincount(random.integers(len(counts), size=len(counts)), minlength=len(counts))
        means[k] = (totals[seeds] @ drawn).mean() / (counts @ drawn)
    return {
        "mean_pp": 100 * each.mean(),
        "each_pp": (100 * each.mean(1)).tolist(),
        "ci95_pp": (100 * np.quantile(means, (0.025, 0.975))).tolist(),
    }
