"""Gates on latency: the file of this run and that of the baseline, measured together in this session.

Figures of another day or machine are never compared. A gate looks at its rounds up to four times and stops as soon
as they decide; each look loads both files in new processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from benchmarks.device import Device, Unavailable
from benchmarks.files import ExportedFile, FileId
from benchmarks.latency import FileLatency, inputs_of_spec, log_ratios, measure_files
from compress.gating.looks import boundaries, z_value
from compress.gating.measured import Measured
from compress.gating.planning import more_needed
from compress.gating.selection import with_files
from compress.gating.settings import GateSettings, LatencyGate, fraction
from compress.gating.verdict import Outcome, Verdict

Progress = Callable[[str, int, int], None]
"""`progress(what, done, total)`, called after each look."""


def latency_outcomes(
    gate: LatencyGate,
    run: Measured,
    baseline: Measured,
    settings: GateSettings,
    *,
    place: str,
    progress: Progress | None = None,
) -> tuple[list[Outcome], list[str]]:
    """The outcomes of one gate, with notes on files that are not measured.

    The error rate is divided by the number of files that differ from the baseline.
    """
    selected = with_files(gate.files, run, baseline, gate=place)
    ids = [FileId(*name.split(".", 1)) for name in selected.names]
    differ = [one for one in ids if run.sha256[one] != baseline.sha256[one]]
    outcomes, notes = list(selected.outcomes), list(selected.notes)
    settled = "the file is that of the baseline, byte for byte, and needs no measurement"
    name = gate.device.name or gate.device.kind
    figures = {one: f"files.{one}.{name}.latency" for one in ids}
    outcomes += [
        Outcome(gate=place, figure=figures[one], verdict="pass", reason=settled)
        for one in ids
        if one not in differ
    ]
    if not differ:
        return outcomes, notes
    alpha = settings.alpha / len(differ)
    inputs = inputs_of_spec(run.spec)
    try:
        with gate.device.connect(name) as device:
            for one in differ:
                ours, theirs = run.file(one), baseline.file(one)
                assert ours is not None and theirs is not None
                decision = decide_files(
                    gate, ours, theirs, inputs, device=device, alpha=alpha, progress=progress
                )
                if isinstance(decision, str):
                    notes.append(f"{place}: {figures[one]} is measured on neither side: {decision}")
                else:
                    outcomes.append(_outcome(decision, place=place, figure=figures[one]))
    except Unavailable as error:
        judged = {outcome.figure for outcome in outcomes}
        outcomes += [
            Outcome(
                gate=place,
                figure=figures[one],
                verdict="inconclusive",
                reason=f"device {name} cannot be used: {error}",
                needed="the device",
            )
            for one in differ
            if figures[one] not in judged
        ]
    return outcomes, notes


class Decision(NamedTuple):
    """The verdict on the ratio of two latencies."""

    verdict: Verdict
    reason: str
    ratio: float | None = None
    needed: str | None = None


def _outcome(decision: Decision, *, place: str, figure: str) -> Outcome:
    return Outcome(
        gate=place,
        figure=figure,
        verdict=decision.verdict,
        reason=decision.reason,
        baseline=None if decision.ratio is None else 1.0,
        value=decision.ratio,
        needed=decision.needed,
    )


def decide_files(
    gate: LatencyGate,
    ours: ExportedFile,
    theirs: ExportedFile,
    inputs: Mapping[str, np.ndarray],
    *,
    device: Device,
    alpha: float,
    progress: Progress | None,
) -> Decision | str:
    """The verdict on a file relative to another; the reason as text if neither can run there."""
    logs: list[float] = []
    for look in range(1, gate.looks + 1):
        both = measure_files(
            [ours, theirs], inputs, device=device, threads=gate.threads, rounds=gate.rounds, seed=look
        )
        if any(one.unavailable for one in both):
            return _cannot_run(*both)
        logs += log_ratios(*both).tolist()
        if progress is not None:
            progress(f"latency of {ours.id}", look, gate.looks)
        decision = decide_ratio(
            logs, limit=1 + fraction(gate.max_increase), look=look, looks=gate.looks, alpha=alpha
        )
        if decision.verdict != "inconclusive":
            break
    return decision


def decide_ratio(logs: list[float], *, limit: float, look: int, looks: int, alpha: float) -> Decision:
    """The verdict at one look on the logarithms of the ratios of all rounds so far.

    Fails if a ratio of at most `limit` is rejected, passes if one of at least `limit` is, each with error rate
    `alpha` over all looks; else inconclusive.
    """
    bound = boundaries(looks, alpha=alpha)[look - 1]
    z = z_value(logs, above=math.log(limit))
    ratio = math.exp(float(np.mean(logs)))
    reason = (
        f"{ratio:.3f} times the latency of the baseline over {len(logs)} rounds, {look} of {looks} looks; limit "
        f"{limit:g}; z {z:+.2f}, decided beyond {bound:.2f}"
    )
    if abs(z) < bound:
        more = more_needed(len(logs), z=abs(z), wanted=bound)
        needed = "more than 64 times as many rounds: the ratio is close to the limit"
        return Decision(
            "inconclusive", reason, ratio, needed if more is None else f"about {more} more rounds like these"
        )
    return Decision("fail" if z > 0 else "pass", reason, ratio)


def _cannot_run(ours: FileLatency, theirs: FileLatency) -> Decision | str:
    """The verdict if one of the files has no figures; the reason as text if neither has."""
    if ours.unavailable and theirs.unavailable:
        return ours.unavailable
    if ours.unavailable:
        return Decision(
            "fail", f"the file of the baseline runs here, that of this run does not: {ours.unavailable}"
        )
    return Decision(
        "inconclusive",
        f"the file of the baseline does not run here: {theirs.unavailable}",
        needed="a baseline whose file runs here",
    )
