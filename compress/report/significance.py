"""Whether two classifiers differ on the same clips."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from compress.paired import by_file, design_effect, excess_p
from compress.report_shape import PairedReport

LEVEL = 0.05
"""Level below which a change is called significant."""


def paired_change(before: np.ndarray, after: np.ndarray, *, videos: Sequence[str]) -> PairedReport:
    """The change of the share of correct clips, with interval and p-value.

    `before` and `after` are bool `N`, whether each clip is correct; `videos` names the video of each clip. Clips of
    one video are correlated: the test exchanges both sides of whole videos, and the variance of the interval is
    multiplied by the design effect (Rao and Scott 1992, Biometrics 48:577-585). Without any difference, every video
    counts as one clip.
    """
    difference = after.astype(int) - before.astype(int)
    totals = by_file(difference, videos).values
    lost, won = int((difference < 0).sum()), int((difference > 0).sum())
    low, high = _interval(lost, won, len(difference), effect=design_effect(difference, videos))
    return {
        "lost": lost,
        "won": won,
        "change_pp": 100 * (won - lost) / len(difference),
        "ci95_pp": (100 * low, 100 * high),
        "p": exchange_p(totals),
    }


def exchange_p(totals: np.ndarray) -> float:
    """Two-sided mid-p-value of the sum of whole numbers whose signs are equally likely under no change.

    With one clip per video this is the mid-p McNemar test (Fagerland, Lydersen and Laake 2013, BMC Medical Research
    Methodology 13:91).
    """
    total = totals.sum()
    return min(1.0, 2 * excess_p(totals * np.sign(total))) if total else 1.0


def _interval(lost: int, won: int, clips: int, *, effect: float) -> tuple[float, float]:
    """95 % interval of a difference of paired shares, with half a clip added to each of the four cells (Agresti and
    Min 2005, Statistics in Medicine 24:729-740)."""
    total = clips + 2
    variance = (lost + won + 1 - (won - lost) ** 2 / total) / total**2
    half = 1.959964 * (effect * variance) ** 0.5
    middle = (won - lost) / total
    return max(-1.0, middle - half), min(1.0, middle + half)
