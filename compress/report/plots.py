"""Plots as positions in percent, drawn by HTML and SVG: scalable, for light and dark mode."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compress import figures
from compress.report.headline import MODEL_TITLES, models_of
from compress.report.wording import in_words, short
from compress.report_shape import FileReport, Report

SHORTEST_SPAN = 0.1
"""Smallest range of an accuracy axis, so that noise does not appear as a difference."""


def accuracy_plots(report: Report) -> list[dict[str, Any]]:
    """One plot per label column: top-1 with its interval of every network and file."""
    entries: list[tuple[str, Any, str]] = [
        (MODEL_TITLES[name], model, name) for name, model in models_of(report)
    ]
    entries += [(f"{one['format']}, {one['scheme']}", one["accuracy"], "file") for one in report["files"]]
    measured = [(name, entry, kind) for name, entry, kind in entries if entry and entry["top1"] is not None]
    labels = dict.fromkeys(label for _, entry, _ in measured for label in _labels(entry["top1"]))
    plots = [_accuracy_plot(label, measured) for label in labels]
    return [plot for plot in plots if plot["rows"]]


def latency_plot(files: Sequence[FileReport]) -> dict[str, Any] | None:
    """Median, 90th and 99th percentile and the medians of all rounds of every file on every device; the axis starts
    at zero."""
    found = [(file, row) for file in files for row in file["latency"] if row["p50_ms"] is not None]
    if not found:
        return None
    # The upper percentiles of a busy machine can be outliers that would compress the medians.
    far = max(
        min(max(row["p90_ms"] or 0.0, 1.2 * p50), 3 * p50) for _, row in found if (p50 := row["p50_ms"])
    )
    high, ticks = axis_from_zero(far)
    devices = {(row["device"], row["threads"]) for _, row in found}
    rows = []
    for file, row in found:
        p50, p90, p99 = (row[key] or 0.0 for key in ("p50_ms", "p90_ms", "p99_ms"))
        where = f" on {short(row['device'], 24)}" if len(devices) > 1 else ""
        rows.append(
            {
                "name": f"{file['format']}.{file['scheme']}{where}",
                "dot": position(p50, 0, high),
                "low": position(p50, 0, high),
                "width": position(min(p99, high) - p50, 0, high),
                "tick": position(p90, 0, high) if p90 <= high else None,
                "rounds": [
                    position(value, 0, high) for value in row.get("round_p50_ms", ()) if value <= high
                ],
                "far": _beyond(p90, p99, high),
                "value": figures.milliseconds(p50),
            }
        )
    return {"rows": rows, "ticks": [(f"{tick:g}", position(tick, 0, high)) for tick in ticks]}


def _beyond(p90_ms: float, p99_ms: float, high: float) -> str:
    """The percentiles beyond the end of the axis."""
    shown = [("p90", p90_ms), ("p99", p99_ms)]
    return ", ".join(f"{name} {figures.milliseconds(value)}" for name, value in shown if value > high)


def curves(rows: Iterable[Mapping[str, float | None]]) -> list[dict[str, Any]]:
    """One small plot per figure of a training: its value over the epochs."""
    values: dict[str, list[tuple[int, float]]] = {}
    for epoch, row in enumerate(rows, start=1):
        for name, value in row.items():
            if name != "epoch" and value is not None and math.isfinite(value):
                values.setdefault(name, []).append((epoch, value))
    return [_curve(name, series) for name, series in values.items()]


def bars(rows: Sequence[tuple[str, float, str]], *, marked: Iterable[str] = ()) -> dict[str, Any] | None:
    """A bar from zero for each (name, value, text); those of the names `marked` are highlighted."""
    largest = max((value for _, value, _ in rows), default=0.0)
    if largest <= 0:
        return None
    high, _ = axis_from_zero(largest)
    names = set(marked)
    return {
        "rows": [
            {"name": name, "width": position(value, 0, high), "value": text, "marked": name in names}
            for name, value, text in rows
        ]
    }


def line(points: Sequence[tuple[float, float]]) -> dict[str, Any] | None:
    """A line through at least two (x, y), with the ends of both axes; y starts at zero or below."""
    if len(points) < 2:
        return None
    low, high = min(0.0, *(y for _, y in points)), max(y for _, y in points)
    first, last = points[0][0], points[-1][0]
    drawn = (f"{position(x, first, last):g},{100 - position(y, low, high):g}" for x, y in points)
    return {
        "points": " ".join(drawn),
        "x": (f"{first:g}", f"{last:g}"),
        "y": (f"{low:.2f}", f"{high:.2f}"),
    }


def _accuracy_plot(label: str, measured: Sequence[tuple[str, Any, str]]) -> dict[str, Any]:
    shares = []
    for name, entry, kind in measured:
        top1, ci95 = (_of_label(entry.get(key), label) for key in ("top1", "ci95"))
        if top1 is not None:
            shares.append((name, kind, top1, ci95 or (top1, top1)))
    low = math.floor(20 * min(ends[0] for *_, ends in shares)) / 20
    high = min(1.0, math.ceil(20 * max(ends[1] for *_, ends in shares)) / 20)
    low = max(0.0, min(low, high - SHORTEST_SPAN))
    rows = [
        {
            "name": name,
            "kind": kind,
            "dot": position(top1, low, high),
            "low": position(ends[0], low, high),
            "width": position(ends[1] - ends[0], 0, high - low),
            "value": figures.percent(top1),
        }
        for name, kind, top1, ends in shares
    ]
    places = {row["kind"]: row["dot"] for row in rows}
    step = next(step for step in (0.05, 0.1, 0.25) if (high - low) / step < 6)
    ticks = [step * k for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    return {
        "label": short(label) if label else "",
        "rows": rows,
        "teacher": places.get("teacher"),
        "student": places.get("student_float"),
        "ticks": [(f"{100 * tick:.0f}", position(tick, low, high)) for tick in ticks],
    }


def _curve(name: str, series: Sequence[tuple[int, float]]) -> dict[str, Any]:
    low, high = (pick(value for _, value in series) for pick in (min, max))
    first, last = series[0][0], series[-1][0]
    points = [
        f"{position(epoch, first, last):g},{100 - position(value, low, high):g}" for epoch, value in series
    ]
    if len(points) == 1:
        points = ["0,50", "100,50"]
    return {
        "name": in_words(name),
        "points": " ".join(points),
        "low": figures.figure(name, low),
        "high": figures.figure(name, high),
        "last": figures.figure(name, series[-1][1]),
        "epochs": (first, last),
    }


def _labels(top1: Any) -> Iterable[str]:
    """Label columns of a network; one without a name if the data has only one."""
    return top1 if isinstance(top1, Mapping) else ("",)


def _of_label(value: Any, label: str) -> Any:
    return value.get(label) if isinstance(value, Mapping) else value if label == "" else None


def position(value: float, low: float, high: float) -> float:
    """Position of `value` on an axis, 0..100."""
    if high <= low:
        return 50.0
    return round(100 * min(max((value - low) / (high - low), 0.0), 1.0), 2)


def axis_from_zero(largest: float) -> tuple[float, list[float]]:
    """The end of an axis that includes `largest`, and its round tick values."""
    step = 10 ** math.floor(math.log10(largest))
    step *= next(factor for factor in (0.25, 0.5, 1, 2, 2.5) if largest / (step * factor) <= 4.4)
    end = step * math.ceil(largest / step)
    return end, [step * k for k in range(round(end / step) + 1)]
