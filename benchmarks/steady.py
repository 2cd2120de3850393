"""Warm-up: runs a loaded file until its latency no longer changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.device import Session

TOLERANCE = 0.03
"""Largest relative difference of the medians of two successive blocks of a steady file."""
LONGEST_S = 2.0
"""Time of the blocks after which a file counts as unsteady."""
_BLOCK_S = 0.05
_MOST_INFERENCES = 100


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """Result of a warm-up."""

    latency_s: float
    """Median of the last block."""
    steady: bool
    """Whether the last two blocks agreed."""


def warm_up(session: Session) -> WarmUp:
    """Times blocks of about 0.05 s until the medians of two successive ones differ by at most `TOLERANCE`.

    Stops unsteady when the timed inferences took `LONGEST_S`. The first inference only determines the number of
    inferences in a block, as it is slower than the others. Raises `SessionFailed`.
    """
    first_s = float(session.time_runs(1)[0]) / 1e9
    count = inferences_in(_BLOCK_S, latency_s=first_s, most=_MOST_INFERENCES)
    before_s, spent_s = math.inf, 0.0
    while True:
        block_s = session.time_runs(count) / 1e9
        now_s, spent_s = float(np.median(block_s)), spent_s + float(block_s.sum())
        if abs(now_s - before_s) <= TOLERANCE * now_s:
            return WarmUp(latency_s=now_s, steady=True)
        if spent_s >= LONGEST_S:
            return WarmUp(latency_s=now_s, steady=False)
        before_s = now_s


def inferences_in(seconds: float, *, latency_s: float, most: int) -> int:
    """Number of inferences that take about `seconds`: at least 1, and at most `most`.

    A coarse clock, as in browsers, may give a latency of 0.
    """
    if most * latency_s <= seconds:
        return most
    return math.ceil(seconds / latency_s)
