"""Compares a run with a baseline by all gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from compress.gating.answers import answer_outcomes, detectable
from compress.gating.baseline import check_same_clips
from compress.gating.figures import figure_outcomes
from compress.gating.latency import Progress, latency_outcomes
from compress.gating.measured import Measured
from compress.gating.settings import Gate, GateSettings
from compress.gating.verdict import Judgement, Outcome

_SHOWN = 5


def compare(
    run: Measured,
    baseline: Measured,
    settings: GateSettings,
    *,
    before: Callable[[list[str]], object] = lambda lines: None,
    progress: Progress | None = None,
) -> Judgement:
    """The verdicts of all gates. `before` is called with what the clips can find, before any verdict.

    Raises ValueError if the clips, columns or classes differ, and for a gate that matches nothing.
    """
    check_same_clips(run, baseline)
    found = detectable(run, baseline, settings)
    before(found)
    outcomes: list[Outcome] = []
    notes = [*_chance_of_false_alarm(settings), *_changed_environment(run, baseline)]
    for number, gate in enumerate(settings.gates):
        place = f"gates.{number}.{gate.kind}"
        made, more = _outcomes(gate, run, baseline, settings, place=place, progress=progress)
        outcomes += made
        notes += more
    return Judgement(
        outcomes=tuple(outcomes),
        inconclusive=settings.inconclusive,
        run=str(run.folder),
        baseline=str(baseline.folder),
        detectable=tuple(found),
        notes=tuple(notes),
    )


def _outcomes(
    gate: Gate,
    run: Measured,
    baseline: Measured,
    settings: GateSettings,
    *,
    place: str,
    progress: Progress | None,
) -> tuple[list[Outcome], list[str]]:
    if gate.figure is not None:
        return figure_outcomes(gate.figure, run, baseline, place=place), []
    if gate.latency is not None:
        return latency_outcomes(gate.latency, run, baseline, settings, place=place, progress=progress)
    on_answers = gate.accuracy or gate.cross_entropy or gate.margin
    assert on_answers is not None
    return answer_outcomes(on_answers, run, baseline, settings, place=place)


def _chance_of_false_alarm(settings: GateSettings) -> list[str]:
    tests = sum(gate.kind != "figure" for gate in settings.gates)
    if tests < 2:
        return []
    most = min(1.0, tests * settings.alpha)
    return [
        f"{tests} gates are statistical tests with error rate {settings.alpha:g} each: together they fail a change "
        f"without effect with probability {most:.2g} at most"
    ]


def _changed_environment(run: Measured, baseline: Measured) -> list[str]:
    """The differences of the environments, which may explain a change."""
    now, before = (_facts(both.report["environment"]) for both in (run, baseline))
    changed = [
        f"{name} {before.get(name, 'missing')} -> {now.get(name, 'missing')}"
        for name in {**before, **now}
        if before.get(name) != now.get(name) and not name.endswith("load_1min")
    ]
    if not changed:
        return []
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return [f"the environment of the baseline differs: {', '.join(changed[:_SHOWN])}{more}"]


def _facts(value: Any, path: str = "") -> dict[str, str]:
    if not isinstance(value, dict):
        return {path: str(value)}
    found: dict[str, str] = {}
    for name, one in value.items():
        found |= _facts(one, f"{path}.{name}" if path else str(name))
    return found
