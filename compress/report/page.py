"""Content of the report pages: selects, compares and formats all figures. Templates only lay it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compress import figures
from compress.limits import MAX_TEACHERS
from compress.report.plots import accuracy_plots, curves, latency_plot, size_plot
from compress.report.robustness import robustness_table
from compress.report.sensitivity import FIGURES, layer_costs
from compress.report.tasks import task_rows
from compress.report_shape import FileReport, GateReport, LatencyReport, ModelReport, Report

MODEL_TITLES = {
    "teacher": "Teacher",
    **{f"teacher_{index}": f"Teacher {index}" for index in range(MAX_TEACHERS)},
    "student_labels_only": "Student, labels alone",
    "student_float": "Student",
    "student_quantized": "Student, quantized (torch)",
}

_TAGS = {"failed": "not written", "wrong": "wrong outputs"}
"""Tags of files that are not measured."""


def page(report: Report) -> dict[str, Any]:
    """Everything for the templates, as text and positions."""
    verdict, tone = headline(report)
    return {
        "name": report["recipe"].get("name", "recipe"),
        "verdict": verdict,
        "tone": tone,
        "warnings": _warnings(report),
        "tiles": list(_tiles(report)),
        "gates": [_gate(gate) for gate in report["gates"]],
        "files": [file_row(file, report) for file in report["files"]],
        "models": [_model(name, model) for name, model in _models(report)],
        "accuracy_plots": accuracy_plots(report, MODEL_TITLES),
        "latency_plot": latency_plot(report["files"]),
        "size_plot": size_plot(report["files"]),
        "tasks": list(task_rows(report, MODEL_TITLES)),
        "robustness": robustness_table(report, MODEL_TITLES),
        "layer_costs": layer_costs(report["stages"]),
        "unmeasured": unmeasured(report),
        "stages": [_stage(stage) for stage in report["stages"]],
        "skipped": report.get("skipped", []),
        "notes": report.get("notes", []),
        "data": _data(report),
        "environment": [(_in_words(key), _plain(key, value)) for key, value in report["environment"].items()],
    }


def _warnings(report: Report) -> list[dict[str, str]]:
    """The warnings of the report; the label column is named if there are several."""
    found = report.get("warnings", [])
    several = len({one["label"] for one in found}) > 1 or len(report.get("data", {}).get("classes", ())) > 1
    return [
        {"path": one["path"], "label": one["label"] if several else "", "message": one["message"]}
        for one in found
    ]


def headline(report: Report) -> tuple[str, str]:
    """The verdict in one sentence, and its tone: `good`, `bad` or `plain`."""
    gates = report["gates"]
    states = [one.get("status") for one in report["files"]]
    held = [gate for gate in gates if gate.get("allowed", gate["verdict"] == "passed")]
    excused = sum(gate["verdict"] == "unmeasured" for gate in held)
    if len(held) < len(gates):
        missed = len(gates) - len(held)
        sentence, tone = f"Failed: {missed} of {_counted(len(gates), 'gate')}", "bad"
    elif gates:
        sentence, tone = f"Passed: {len(held) - excused} of {_counted(len(gates), 'gate')}", "good"
        if excused:
            sentence += f", {excused} not measured, as the recipe allows"
    else:
        sentence, tone = "Finished; the recipe sets no gates", "plain"
    for state, what in (("failed", "could not be written"), ("wrong", "missed their pass criterion")):
        if state in states:
            sentence += f"; {states.count(state)} of {_counted(len(states), 'file')} {what}"
            tone = "bad"
    stopped = did_not_run(report)
    if stopped:
        sentence += f"; did not run here: {', '.join(stopped)}"
        tone = "bad"
    return sentence, tone


def did_not_run(report: Report) -> list[str]:
    """Files that should have run on this machine and did not."""
    robustness = report.get("robustness")
    parts: list[tuple[str, Mapping[str, Any]]] = []
    if robustness is not None:
        parts += [(row["name"], row) for row in robustness["rows"]]
    for file in report["files"]:
        parts += [(figures.name_of(file), part) for part in (file["accuracy"], *file["latency"])]
    return list(dict.fromkeys(name for name, part in parts if part.get("failed", False)))


def unmeasured(report: Report) -> list[tuple[str, str]]:
    """What could not be measured or written, each with the reason."""
    rows: list[tuple[str, str]] = []
    for name, model in _models(report):
        if model["top1"] is None:
            rows.append(
                (f"Top-1 of the {MODEL_TITLES[name].lower()}", model.get("reason", "no reason given"))
            )
    for file in report["files"]:
        format_name = figures.name_of(file)
        if file.get("status") in _TAGS:
            rows.append((f"The {format_name} file", file.get("reason") or "no reason given"))
            continue
        parts: list[tuple[str, Mapping[str, Any], str]] = [
            ("Top-1", file["accuracy"], "top1"),
            ("Agreement with torch", file["parity"], "top1_agreement"),
        ]
        parts += [(f"Latency on {one['device']}", one, "p50_ms") for one in file["latency"]]
        by_reason: dict[str, list[str]] = {}
        for what, part, key in parts:
            if part[key] is None:
                by_reason.setdefault(part.get("reason", "no reason given"), []).append(what)
        for reason, whats in by_reason.items():
            what = ", ".join([whats[0], *(one[0].lower() + one[1:] for one in whats[1:])])
            rows.append((f"{what} of the {format_name} file", reason))
    return rows


def _models(report: Report) -> Iterator[tuple[str, ModelReport]]:
    models: Mapping[str, Any] = report["models"]
    return ((name, models[name]) for name in MODEL_TITLES if models.get(name) is not None)


def _tiles(report: Report) -> Iterator[dict[str, str]]:
    """The key figures."""
    models: Mapping[str, Any] = report["models"]
    student, alone = (models.get(name) for name in ("student_float", "student_labels_only"))
    for name, model in _models(report):
        if name.startswith("teacher"):
            parameters = model["parameters"]
            note = (
                model.get("network", "") if parameters is None else f"{figures.count(parameters)} parameters"
            )
            yield _tile(MODEL_TITLES[name], _per_label(model["top1"]), note)
    if student:
        gain = figures.drop_pp(student["top1"], alone["top1"]) if alone else None
        note = f"{figures.count(student['parameters'])} parameters"
        if gain is not None:
            note = f"{gain:+.1f} points over labels alone"
        yield _tile("Student, float", _per_label(student["top1"]), note)
    measured = [one for one in report["files"] if isinstance(one["accuracy"]["top1"], float | int)]
    if measured:
        shares = sorted(float(one["accuracy"]["top1"]) for one in measured)  # type: ignore[arg-type]
        low, high = figures.percent(shares[0]), figures.percent(shares[-1])
        text = low if low == high else f"{low.removesuffix(' %')}–{high}"
        yield _tile(
            "Exported files", text, f"top-1 of {_counted(len(measured), 'file')}, each in its runtime"
        )
    macs = _macs_saved(report)
    if macs:
        yield macs
    sizes = [
        (one["size_bytes"], figures.name_of(one)) for one in report["files"] if one["size_bytes"] is not None
    ]
    if sizes:
        yield _tile("Smallest file", figures.size(min(sizes)[0]), min(sizes)[1])
    times = [
        (row["p50_ms"], f"{figures.name_of(one)}, {row['device']}, {_counted(row['threads'], 'thread')}")
        for one in report["files"]
        for row in one["latency"]
        if row["p50_ms"] is not None
    ]
    if times:
        yield _tile("Fastest clip", figures.milliseconds(min(times)[0]), min(times)[1])


def _macs_saved(report: Report) -> dict[str, str] | None:
    """Operations of the exported student, relative to the unpruned one."""
    student = report["models"]["student_float"]
    built = next((stage["before"]["macs"] for stage in report["stages"] if stage["before"].get("macs")), None)
    if student is None or not student["macs"]:
        return None
    change = f", {100 * (student['macs'] / built - 1):+.0f} %" if built and built != student["macs"] else ""
    return _tile("Operations", f"{figures.count(student['macs'])} MAC", f"per clip{change}".replace("-", "−"))


def _tile(title: str, value: str, note: str) -> dict[str, str]:
    return {"title": title, "value": value, "note": note}


def gate_figures(gate: GateReport) -> tuple[str, str]:
    """The formatted figure and limit of a gate."""
    name = next((part for part in reversed(gate["metric"].split(".")) if _has_unit(part)), gate["metric"])
    sign = {"min": "at least ", "max": "at most "}.get(gate.get("bound", ""), "")
    value, limit = figures.against_limit(name, gate["value"], gate["limit"])
    return value, sign + limit


def _gate(gate: GateReport) -> dict[str, Any]:
    value, limit = gate_figures(gate)
    return {
        "metric": gate["metric"],
        "limit": limit,
        "value": value,
        "verdict": gate["verdict"],
        "tone": "good" if gate["verdict"] == "passed" else "plain" if gate.get("allowed") else "bad",
        "reason": gate.get("reason", ""),
    }


def _has_unit(part: str) -> bool:
    return part in (
        "top1",
        "top1_agreement",
        "seconds",
        "parameters",
        "macs",
        "max_abs_error",
    ) or part.endswith(("_pp", "_bytes", "_ms", "_db"))


def file_row(file: FileReport, report: Report) -> dict[str, Any]:
    """The displayed figures of one file."""
    accuracy, parity = file["accuracy"], file["parity"]
    student = report["models"]["student_float"]
    drop: Any = None
    if student is not None:
        drop = _by_label(figures.drop_pp, student["top1"], accuracy["top1"])
    return {
        "format": file["format"],
        "scheme": file["scheme"],
        "path": file["path"] or "",
        "runtime": accuracy["runtime"] or "",
        "tag": _TAGS.get(file.get("status", ""), ""),
        "reason": file.get("reason") or "",
        "size": figures.size(file["size_bytes"]),
        "top1": _per_label(accuracy["top1"]),
        "interval": "" if isinstance(accuracy["ci95"], Mapping) else figures.interval(accuracy["ci95"]),
        "clips": accuracy["clips"],
        "drop": _per_label(drop, figures.points),
        "agreement": _per_label(parity["top1_agreement"]),
        "latency": [
            {
                "device": f"{row['device']}, {_counted(row['threads'], 'thread')}",
                "p50": figures.milliseconds(row["p50_ms"]),
                "p90": figures.milliseconds(row["p90_ms"]),
                "p99": figures.milliseconds(row["p99_ms"]),
                "memory": figures.size(row["peak_rss_bytes"]),
                "speed": _speed(row),
                "times": _times(row),
            }
            for row in file["latency"]
        ],
        "notes": file.get("notes", []),
    }


def _times(row: LatencyReport) -> str:
    """Speedup of a file over the fp32 file of its format: `1.42x`."""
    slower = row.get("ratio_to_fp32")
    return "" if slower is None else f"{1 / slower:.2f}x"


def _speed(row: LatencyReport) -> str:
    """The speedup with its interval: `1.42x as fast as fp32 [1.40, 1.45]`."""
    ends = row.get("ratio_to_fp32_ci95")
    interval = "" if ends is None else f" [{1 / ends[1]:.2f}, {1 / ends[0]:.2f}]"
    return f"{_times(row)} as fast as fp32{interval}" if _times(row) else ""


def _model(name: str, model: ModelReport) -> dict[str, Any]:
    ci95 = model.get("ci95")
    return {
        "title": MODEL_TITLES[name],
        "network": model.get("network", ""),
        "inputs": ", ".join(model.get("inputs", [])),
        "top1": _per_label(model["top1"]),
        "interval": "" if isinstance(ci95, Mapping) else figures.interval(ci95),
        "parameters": figures.count(model["parameters"]),
        "macs": figures.count(model["macs"]),
        "notes": model.get("notes", []),
    }


def _stage(stage: Any) -> dict[str, Any]:
    before, after = stage["before"], stage["after"]
    changes = []
    # Tasks and layers have separate tables.
    elsewhere = ("tasks", *FIGURES)
    for key in [*before, *(key for key in after if key not in before and key not in elsewhere)]:
        values = [figures.figure(key, side[key]) for side in (before, after) if key in side]
        changes.append((_in_words(key), " → ".join(dict.fromkeys(values))))
    return {
        "name": stage["name"],
        "path": stage["path"],
        "time": figures.seconds(stage["seconds"]) + _processor(stage) + _threads(stage.get("threads")),
        "cached": stage["cached"],
        "changes": changes,
        "notes": [*stage.get("notes", []), *([stage["busy"]] if stage.get("busy") else [])],
        "curves": curves(stage.get("curve", [])),
    }


def _processor(stage: Any) -> str:
    cpu_s = stage.get("cpu_seconds")
    return "" if cpu_s is None else f" ({figures.seconds(cpu_s)} of processors)"


def _in_words(key: str) -> str:
    """A key of the report as text."""
    return key.removesuffix("_bytes").replace("top1", "top-1").replace("macs", "operations").replace("_", " ")


def _data(report: Report) -> dict[str, Any] | None:
    data = report.get("data")
    if data is None:
        return None
    classes = "; ".join(f"{name}: {len(names)}" for name, names in data["classes"].items())
    return {**data, "classes": classes}


def _per_label(value: Any, show: Any = figures.percent) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{label} {show(one)}" for label, one in value.items())
    return str(show(value))


def _by_label(function: Any, before: Any, after: Any) -> Any:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return {label: function(before.get(label), one) for label, one in after.items()}
    return function(before, after)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _plain(name: str, value: Any) -> str:
    """A value of the environment, however it is nested."""
    if isinstance(value, Mapping):
        return ", ".join(f"{_in_words(key)} {_plain(key, one)}" for key, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_plain(name, one) for one in value) or "none"
    if value is None:
        return "unknown"
    return figures.size(value) if name.endswith("_bytes") else str(value)


def _threads(number: int | None) -> str:
    if number is None:
        return ""
    return f" on {number} thread{'' if number == 1 else 's'}"
