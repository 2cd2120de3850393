"""Gates on figures of the report: plain limits relative to the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.files import FileId
from compress.figures import figure as shown
from compress.figures import is_measured, name_of
from compress.gates import FILE_METRICS
from compress.gating.measured import Measured
from compress.gating.selection import matching
from compress.gating.settings import FigureGate, fraction
from compress.gating.verdict import Outcome


def figure_outcomes(gate: FigureGate, run: Measured, baseline: Measured, *, place: str) -> list[Outcome]:
    """The outcomes of one gate, for every figure that matches its path."""
    ours, theirs = figures_of(run), figures_of(baseline)
    measured = [path for path in {**theirs, **ours} if is_measured(theirs.get(path, ours.get(path)))]
    paths = matching(gate.path, measured, where=f"{place}.path")
    return [_judge(gate, path, ours.get(path), theirs.get(path), place=place) for path in paths]


def figures_of(measured: Measured) -> dict[str, Any]:
    """All figures of a report by path, with the short paths that gates of recipes use.

    `files.<format>.<scheme>.` comes before the keys of a file, with `coverage`, the share of its multiply-adds in
    accelerated kernels; `files.<format>.<scheme>.<device>.` before those of its latency.
    """
    report: Mapping[str, Any] = measured.report
    found: dict[str, Any] = {}
    for file in report["files"]:
        place = f"files.{name_of(file)}"
        rest = {key: value for key, value in file.items() if key != "latency"}
        found |= _flat(rest, place)
        for metric, keys in FILE_METRICS.items():
            if keys:
                found |= _flat(_at(file, keys), f"{place}.{metric}")
        for row in file["latency"]:
            found |= _flat({k: v for k, v in row.items() if k != "device"}, f"{place}.{row['device']}")
        share = measured.coverage.get(FileId(file["format"], file["scheme"]))
        if share is not None:
            found[f"{place}.coverage"] = share
    for row in (report.get("robustness") or {}).get("rows", ()):
        found |= _flat(row, f"robustness.{row['name']}.{row['label']}")
    for key in ("models", "stages", "environment"):
        found |= _flat(report[key], key)
    return found


def _flat(value: Any, path: str) -> dict[str, Any]:
    return dict(_walk(value, path))


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _walk(one, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value):
            yield from _walk(one, f"{path}.{index}")
    elif value is None or is_measured(value):
        yield path, value


def _at(value: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _judge(gate: FigureGate, path: str, now: Any, before: Any, *, place: str) -> Outcome:
    if not is_measured(before):
        return Outcome(
            gate=place,
            figure=path,
            verdict="inconclusive",
            reason="the baseline has no such figure",
            value=now,
            needed="a baseline with it: --update-baseline",
        )
    if not is_measured(now):
        reason = "the baseline has this figure, this run has not"
        return Outcome(gate=place, figure=path, verdict="fail", reason=reason, baseline=before)
    change = now - before
    faults = [
        f"allowed is {word} of {limit if isinstance(limit, str) else f'{limit:g}'}"
        for word, limit, amount in (
            ("an increase", gate.max_increase, change),
            ("a decrease", gate.max_decrease, -change),
        )
        if limit is not None and amount > _absolute(limit, before)
    ]
    name = path.rpartition(".")[2]
    share = f" ({100 * change / abs(before):+.1f} %)" if before else ""
    return Outcome(
        gate=place,
        figure=path,
        verdict="fail" if faults else "pass",
        reason="; ".join([f"{shown(name, before)} -> {shown(name, now)}{share}", *faults]),
        baseline=before,
        value=now,
    )


def _absolute(limit: str | float, before: float) -> float:
    return fraction(limit) * abs(before) if isinstance(limit, str) else limit
