"""What paired answers say for and against a gate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.top1 import correct_predictions
from compress.gating.pairs import Pair, cross_entropy, margin
from compress.gating.settings import AccuracyGate, CrossEntropyGate, MarginGate
from compress.gating.verdict import Verdict
from compress.paired import by_file, design_effect, drop_score, excess_p, share_p_values

AnswerGate = AccuracyGate | CrossEntropyGate | MarginGate


class Evidence(NamedTuple):
    """What a comparison says against a gate, and for it."""

    worse_p: float
    """Of "no worse than allowed"."""
    within_p: float
    """Of "worse than what must be excluded"."""
    worse_z: float
    """Of the same; it grows with the square root of the number of clips."""
    within_z: float
    text: str
    before: float | None
    after: float | None


def evidence_of(gate: AnswerGate, pair: Pair, files: Sequence[str]) -> Evidence:
    """Tests a gate on paired answers; `files` has the file of each clip."""
    if isinstance(gate, AccuracyGate):
        return _of_top1(gate, pair, files)
    if isinstance(gate, CrossEntropyGate):
        return _of_score(
            cross_entropy, pair, files, allowed=gate.max_increase, excluded=gate.detect, what="cross-entropy"
        )
    return _of_score(margin, pair, files, allowed=gate.max_decrease, excluded=gate.detect, what="margin")


def decide(worse_p: float, within_p: float, *, alpha: float, level: float) -> Verdict:
    """Fails if "no worse than allowed" is rejected, passes if "as bad as what must be excluded" is."""
    if worse_p <= alpha:
        return "fail"
    return "pass" if within_p <= level else "inconclusive"


class DropTest(NamedTuple):
    """Tests of a drop of top-1."""

    worse_p: float
    within_p: float
    worse_z: float
    within_z: float
    independent: int
    """Number of independent clips that the clips count as."""


def tested_drop(change: np.ndarray, files: Sequence[str], *, allowed: float, excluded: float) -> DropTest:
    """Tests "the drop is at most `allowed`" and "it is at least `excluded`", both shares.

    `change` has 1 for a clip that has become wrong, -1 for one that has become right, else 0. Clips of one file
    count as fewer independent ones (`design_effect`), rounded against the decision that each p-value stands for.
    """
    effect = design_effect(change, files)
    independent = max(1, math.floor(len(change) / effect))
    losses, gains = ((change == sign).sum() / effect for sign in (1, -1))
    most_lost = min(independent, math.ceil(losses))
    within_p, _ = share_p_values(
        most_lost, min(math.floor(gains), independent - most_lost), independent, drop=excluded
    )
    if allowed == 0:
        worse_p = excess_p(by_file(change, files).values)
    else:
        most_won = min(independent, math.ceil(gains))
        _, worse_p = share_p_values(
            min(math.floor(losses), independent - most_won), most_won, independent, drop=allowed
        )
    worse_z, within_z = (
        float(drop_score(losses, gains, independent, limit)) if limit or losses or gains else 0.0
        for limit in (allowed, excluded)
    )
    return DropTest(worse_p, within_p, -worse_z, within_z, independent)


def _of_top1(gate: AccuracyGate, pair: Pair, files: Sequence[str]) -> Evidence:
    change, clips = pair.change(), len(pair.truth)
    found = tested_drop(change, files, allowed=gate.max_drop_pp / 100, excluded=gate.excluded_pp / 100)
    was, now = (float(correct_predictions(side, pair.truth).mean()) for side in (pair.before, pair.after))
    together = "" if found.independent == clips else f", counted as {found.independent} independent ones"
    text = (
        f"top-1 {was:.1%} -> {now:.1%}: {(change > 0).sum()} clips lost, {(change < 0).sum()} gained of "
        f"{clips}{together}; allowed is a drop of {gate.max_drop_pp:g} points, {gate.excluded_pp:g} must be "
        "excluded"
    )
    return Evidence(found.worse_p, found.within_p, found.worse_z, found.within_z, text, was, now)


def _of_score(
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    pair: Pair,
    files: Sequence[str],
    *,
    allowed: float,
    excluded: float,
    what: str,
) -> Evidence:
    was, now = (score(side, pair.truth) for side in (pair.before, pair.after))
    for side, values in (("the baseline", was), ("this run", now)):
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            text = f"{what} is undefined for {bad} clips of {side}, whose logits are not finite"
            return Evidence(0.0 if side == "this run" else 1.0, 1.0, 0.0, 0.0, text, None, None)
    sign = 1 if what == "cross-entropy" else -1
    totals, clips = by_file(sign * (now - was), files)
    above, below = totals - allowed * clips, excluded * clips - totals
    text = (
        f"mean {what} {was.mean():.4f} -> {now.mean():.4f}; allowed is a change for the worse of {allowed:g}, "
        f"{excluded:g} must be excluded"
    )
    return Evidence(
        excess_p(above), excess_p(below), _z(above), _z(below), text, float(was.mean()), float(now.mean())
    )


def _z(totals: np.ndarray) -> float:
    spread = math.sqrt(float((totals**2).sum()))
    return float(totals.sum()) / spread if spread else 0.0
