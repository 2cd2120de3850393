"""The verdict of a report, and everything that failed, fell back or was not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compress import figures
from compress.limits import MAX_TEACHERS
from compress.quantized_models import LAST, SCHEMES
from compress.report.wording import counted, listed
from compress.report_shape import CoverageReport, FileReport, ModelReport, Report

MODEL_TITLES = {
    "teacher": "Teacher",
    **{f"teacher_{index}": f"Teacher {index}" for index in range(MAX_TEACHERS)},
    "student_labels_only": "Student, labels alone",
    "student_float": "Student",
    **{f"{LAST}_{scheme}": f"Student, {scheme} (torch)" for scheme in SCHEMES},
    LAST: "Student, quantized (torch)",
}

TAGS = {"failed": "not written", "wrong": "wrong outputs"}
"""Tags of files that are not measured."""


def models_of(report: Report) -> Iterator[tuple[str, ModelReport]]:
    """The networks of the run by name, each once."""
    models: Mapping[str, Any] = report["models"]
    found = [name for name in MODEL_TITLES if models.get(name) is not None]
    if any(name.startswith(f"{LAST}_") for name in found):
        found.remove(LAST)  # one of the named ones
    return ((name, models[name]) for name in found)


def headline(report: Report) -> tuple[str, str]:
    """The verdict in one sentence, and its tone: `good`, `bad` or `plain`."""
    gates = report["gates"]
    states = [one.get("status") for one in report["files"]]
    held = [gate for gate in gates if gate.get("allowed", gate["verdict"] == "passed")]
    excused = sum(gate["verdict"] == "unmeasured" for gate in held)
    if len(held) < len(gates):
        missed = len(gates) - len(held)
        sentence, tone = f"Failed: {missed} of {counted(len(gates), 'gate')}", "bad"
    elif gates:
        sentence, tone = f"Passed: {len(held) - excused} of {counted(len(gates), 'gate')}", "good"
        if excused:
            sentence += f", {excused} not measured, as the recipe allows"
    else:
        sentence, tone = "Finished; the recipe sets no gates", "plain"
    for state, what in (("failed", "could not be written"), ("wrong", "missed their pass criterion")):
        if state in states:
            sentence += f"; {states.count(state)} of {counted(len(states), 'file')} {what}"
            tone = "bad"
    stopped = did_not_run(report)
    if stopped:
        sentence += f"; did not run here: {', '.join(stopped)}"
        tone = "bad"
    lost = lost_devices(report)
    if lost:
        sentence += f"; could not be used: {', '.join(lost)}"
    return sentence, tone


def did_not_run(report: Report) -> list[str]:
    """Files that should have run on a device and did not."""
    robustness = report.get("robustness")
    parts: list[tuple[str, Mapping[str, Any]]] = []
    if robustness is not None:
        parts += [(row["name"], row) for row in robustness["rows"]]
    for file in report["files"]:
        elsewhere = [one["accuracy"] for one in file.get("elsewhere", [])]
        measured = (file["accuracy"], *elsewhere, *file["latency"])
        parts += [(figures.name_of(file), part) for part in measured]
    return list(dict.fromkeys(name for name, part in parts if part.get("failed", False)))


def lost_devices(report: Report) -> list[str]:
    """Devices that could not be used."""
    environment = report["environment"]
    devices = {"the first device": environment.get("device", {}), **environment.get("further_devices", {})}
    return [name for name, description in devices.items() if description is None]


def fell_back(report: Report) -> list[dict[str, Any]]:
    """Operators with multiply-adds outside the fast kernels, the same kind and reason of one program as one row;
    those that cost most first."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for program, coverage in _programs(report):
        for one in coverage["left"]:
            if one["macs"]:
                key = (program, one["operator"], one["reason"])
                row = rows.setdefault(key, {"nodes": [], "macs": 0, "of": coverage["macs"]})
                row["nodes"].append(one["node"])
                row["macs"] += one["macs"]
    return [
        {
            "file": program,
            "operator": operator,
            "reason": reason,
            "count": len(row["nodes"]),
            "nodes": listed(row["nodes"]),
            "share": f"{100 * row['macs'] / row['of']:.1f} %",
        }
        for (program, operator, reason), row in sorted(
            rows.items(), key=lambda item: -item[1]["macs"] / item[1]["of"]
        )
    ]


def _programs(report: Report) -> Iterator[tuple[str, CoverageReport]]:
    """The coverage of every file, and of the step program of a streaming student."""
    for file in report["files"]:
        name, coverage, step = figures.name_of(file), file.get("coverage"), file.get("step")
        if coverage is not None:
            yield name, coverage
        if step is not None and step["coverage"] is not None:
            yield f"{name}, new frame", step["coverage"]


def unmeasured(report: Report) -> list[tuple[str, str]]:
    """What could not be measured or written, each with the reason; files with the same reason are one row."""
    rows: list[tuple[str, str]] = []
    for name, model in models_of(report):
        if model["top1"] is None:
            rows.append(
                (f"Top-1 of the {MODEL_TITLES[name].lower()}", model.get("reason", "no reason given"))
            )
    files: dict[tuple[str, str], list[str]] = {}
    for file in report["files"]:
        name = figures.name_of(file)
        if file.get("status") in TAGS:
            rows.append((f"The {name} file", file.get("reason") or "no reason given"))
            continue
        for what, reason in _missing(file):
            files.setdefault((what, reason), []).append(name)
    for (what, reason), names in files.items():
        rows.append((f"{what} of {', '.join(names)}", reason))
    return rows


def lacks(file: FileReport, *, without: Sequence[str]) -> bool:
    """Whether a figure of the file is missing, other than on the devices `without`."""
    return next(_missing(file, without=without), None) is not None


def _missing(file: FileReport, *, without: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Figures of one file that are missing, by reason, other than on the devices `without`."""
    parts: list[tuple[str, Mapping[str, Any], str]] = [
        ("Top-1", file["accuracy"], "top1"),
        ("Agreement with torch", file["parity"], "top1_agreement"),
    ]
    for one in file.get("elsewhere", []):
        if one["device"] not in without:
            parts.append((f"Top-1 on {one['device']}", one["accuracy"], "top1"))
    timed = [one for one in file["latency"] if one["device"] not in without]
    parts += [(f"Latency on {one['device']}", one, "p50_ms") for one in timed]
    step = file.get("step")
    if step:
        parts.append(("Latency of a new frame", step, "p50_ms"))
    by_reason: dict[str, list[str]] = {}
    for what, part, key in parts:
        if part[key] is None:
            by_reason.setdefault(part.get("reason", "no reason given"), []).append(what)
    for reason, whats in by_reason.items():
        yield ", ".join([whats[0], *(one[0].lower() + one[1:] for one in whats[1:])]), reason
