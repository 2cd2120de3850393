"""Gates on the answers to the same clips: top-1, cross-entropy and margin, paired."""

from __future__ import annotations

import math

import numpy as np

from compress.gating.evidence import AnswerGate, Evidence, decide, evidence_of
from compress.gating.measured import Measured, is_network
from compress.gating.pairs import Pair, pairs_of
from compress.gating.planning import more_needed, smallest_drop
from compress.gating.selection import matching, with_answers
from compress.gating.settings import AccuracyGate, CrossEntropyGate, GateSettings
from compress.gating.verdict import Outcome
from compress.paired import design_effect, holm

_FLIPS_SHOWN = (0.01, 0.03, 0.05)


def answer_outcomes(
    gate: AnswerGate,
    run: Measured,
    baseline: Measured,
    settings: GateSettings,
    *,
    place: str,
) -> tuple[list[Outcome], list[str]]:
    """The outcomes of one gate, with notes on files that neither side has answers of."""
    selected = with_answers(gate.files, run, baseline, gate=place)
    labels = matching(gate.labels, [one.name for one in run.spec.labels], where=f"{place}.labels")
    outcomes, open_pairs = list(selected.outcomes), []
    for pair in pairs_of(selected.names, labels, run, baseline):
        if pair.is_the_same(run, baseline):
            reason = "the file and its answers are those of the baseline"
            if is_network(pair.name):
                reason = "the answers are those of the baseline"
            outcomes.append(
                Outcome(gate=place, figure=f"{pair.figure}.{pair.label}", verdict="pass", reason=reason)
            )
        else:
            open_pairs.append(pair)
    evidence = [evidence_of(gate, pair, baseline.clips.files) for pair in open_pairs]
    adjusted = holm([one.worse_p for one in evidence])
    for pair, one, worse_p in zip(open_pairs, evidence, adjusted, strict=True):
        outcomes.append(
            _judge(gate, pair, one, worse_p, settings, baseline, place=place, compared=len(evidence))
        )
    return outcomes, selected.notes


def detectable(run: Measured, baseline: Measured, settings: GateSettings) -> list[str]:
    """What the clips can find, in sentences: for some shares of flips, and for those of each file."""
    clips, files = len(run.clips), len(set(run.clips.files))

    def points(share: float, count: int) -> str:
        drop = smallest_drop(count, flips=share, alpha=settings.alpha, wanted=settings.power)
        return "no drop" if drop is None else f"{100 * drop:.1f} points"

    some = ", ".join(f"{points(share, files)} at {share:.0%} flips" for share in _FLIPS_SHOWN)
    counted = "" if files == clips else f" of {files} files, each counted as one clip"
    lines = [
        f"{clips} clips{counted}: the smallest drop of top-1 that is found with probability "
        f"{settings.power:g} is {some}"
    ]
    names = [name for name in baseline.answers if name in run.answers and not is_network(name)]
    for pair in pairs_of(names, [one.name for one in run.spec.labels], run, baseline):
        change = pair.change()
        if not change.any():
            continue
        flips = np.count_nonzero(change)
        independent = math.floor(clips / design_effect(change, run.clips.files))
        found = points(flips / clips, independent)
        lines.append(f"{pair.name}, {pair.label}: {flips} flips ({flips / clips:.1%}): {found}")
    return lines


def _judge(
    gate: AnswerGate,
    pair: Pair,
    found: Evidence,
    worse_p: float,
    settings: GateSettings,
    baseline: Measured,
    *,
    place: str,
    compared: int,
) -> Outcome:
    from scipy.stats import norm

    level = settings.alpha if _one_limit(gate) else 1 - settings.power
    verdict = decide(worse_p, found.within_p, alpha=settings.alpha, level=level)
    needed = None
    if verdict == "inconclusive":
        clips = len(pair.truth)
        more = [
            more_needed(clips, z=found.worse_z, wanted=float(norm.isf(settings.alpha / compared))),
            more_needed(clips, z=found.within_z, wanted=float(norm.isf(level))),
        ]
        least = min((number for number in more if number is not None), default=None)
        needed = (
            f"about {least} more clips that differ as these do"
            if least is not None
            else "more than 64 times as many clips: the difference is close to the limit"
        )
    return Outcome(
        gate=place,
        figure=f"{pair.figure}.{pair.label}",
        verdict=verdict,
        reason=f"{found.text}; p {_p(worse_p)} against the limit, {_p(found.within_p)} for passing",
        baseline=found.before,
        value=found.after,
        p_value=worse_p,
        needed=needed,
        flips=pair.flips(baseline),
    )


def _one_limit(gate: AnswerGate) -> bool:
    """Whether the same limit decides in both directions: non-inferiority, with one error rate."""
    if isinstance(gate, AccuracyGate):
        return gate.excluded_pp == gate.max_drop_pp
    return gate.detect == (gate.max_increase if isinstance(gate, CrossEntropyGate) else gate.max_decrease)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
