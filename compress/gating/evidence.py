"""What paired answers say for and against a gate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.top1 import correct_predictions
from compress.gating.pairs import Pair, cross_entropy, margin
from compress.gating.settings import AccuracyGate, CrossEntropyGate, MarginGate
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


def _of_top1(gate: AccuracyGate, pair: Pair, files: Sequence[str]) -> Evidence:
    change, clips = pair.change(), len(pair.truth)
    losses, gains = int((change > 0).sum()), int((change < 0).sum())
    allowed, excluded = gate.max_drop_pp / 100, gate.excluded_pp / 100
    effect = design_effect(change, files)
    independent = max(1, math.floor(clips / effect))
    # Rounded against the decision that each p-value stands for.
    low, high = math.floor, math.ceil
    within_p, _ = share_p_values(
        min(independent, high(losses / effect)), low(gains / effect), independent, drop=excluded
    )
    if allowed == 0:
        worse_p = excess_p(by_file(change, files).values)
    else:
        _, worse_p = share_p_values(low(losses / effect), high(gains / effect), independent, drop=allowed)
    worse_z, within_z = (
        float(drop_score(np.array(losses / effect), np.array(gains / effect), independent, limit))
        if limit or losses or gains
        else 0.0
        for limit in (allowed, excluded)
    )
    was, now = (float(correct_predictions(side, pair.truth).mean()) for side in (pair.before, pair.after))
    together = f", counted as {independent} independent ones" if effect > 1 else ""
    text = (
        f"top-1 {was:.1%} -> {now:.1%}: {losses} clips lost, {gains} gained of {clips}{together}; allowed is a drop "
        f"of {gate.max_drop_pp:g} points, {gate.excluded_pp:g} must be excluded"
    )
    return Evidence(worse_p, within_p, -worse_z, within_z, text, was, now)


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
