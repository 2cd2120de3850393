"""Content of the report pages: selects, compares and formats all figures. Templates only lay it out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress import figures
from compress.report.classes import class_sections
from compress.report.environment import environment
from compress.report.files import accuracy_rows, file_row
from compress.report.headline import MODEL_TITLES, fell_back, headline, models_of, unmeasured
from compress.report.key_figures import key_figures
from compress.report.ladder import ladder
from compress.report.plots import accuracy_plots, curves, latency_plot
from compress.report.robustness import robustness_table
from compress.report.sensitivity import FIGURES, layer_costs
from compress.report.tasks import task_rows
from compress.report.tradeoff import tradeoff
from compress.report.wording import in_words, of_label, short, title_of_stage
from compress.report_shape import GateReport, ModelReport, Report

_ORDER = {"failed": 0, "unmeasured": 1, "passed": 2}
"""Order of gates: what needs a decision comes first."""


def page(report: Report) -> dict[str, Any]:
    """Everything for the templates, as text and positions."""
    verdict, tone = headline(report)
    plots = accuracy_plots(report)
    return {
        "name": short(report["recipe"].get("name", "recipe"), 80),
        "verdict": verdict,
        "tone": tone,
        "warnings": _warnings(report),
        "tiles": list(key_figures(report)),
        "gates": sorted(map(_gate, report["gates"]), key=lambda gate: _ORDER[gate["verdict"]]),
        "files": [file_row(file, report) for file in report["files"]],
        "accuracy_rows": accuracy_rows(report),
        "fell_back": fell_back(report),
        "unmeasured": unmeasured(report),
        "ladder": ladder(report),
        "models": [_model(name, model) for name, model in models_of(report)],
        "accuracy_plots": plots,
        "tradeoff": tradeoff(report),
        "latency_plot": latency_plot(report["files"]),
        "class_sections": list(class_sections(report)),
        "tasks": list(task_rows(report)),
        "robustness": robustness_table(report, MODEL_TITLES),
        "layer_costs": layer_costs(report["stages"]),
        "stages": [_stage(stage) for stage in report["stages"]],
        "skipped": report.get("skipped", []),
        "notes": report.get("notes", []),
        "data": _data(report),
        "reproduce": report.get("reproduce", ""),
        "environment": environment(report),
    }


def _warnings(report: Report) -> list[dict[str, str]]:
    """The warnings of the report; the label column is named if there are several."""
    found = report.get("warnings", [])
    several = len({one["label"] for one in found}) > 1 or len(report.get("data", {}).get("classes", ())) > 1
    return [
        {
            "path": one["path"],
            "label": short(one["label"]) if several else "",
            "message": short(one["message"], 400),
        }
        for one in found
    ]


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


def _model(name: str, model: ModelReport) -> dict[str, Any]:
    top1, ci95 = model["top1"], model.get("ci95")
    return {
        "title": MODEL_TITLES[name],
        "network": model.get("network", ""),
        "inputs": ", ".join(model.get("inputs", [])),
        "columns": [
            {
                "label": short(label, 24) if label else "",
                "top1": figures.percent(of_label(top1, label)),
                "interval": figures.interval(of_label(ci95, label)),
            }
            for label in (top1 if isinstance(top1, Mapping) else [""])
        ],
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
        values = [figures.figure(key, _short_keys(side[key])) for side in (before, after) if key in side]
        changes.append((in_words(key), " → ".join(dict.fromkeys(values))))
    return {
        "name": title_of_stage(stage),
        "path": stage["path"],
        "time": figures.seconds(stage["seconds"]) + _processor(stage) + _threads(stage.get("threads")),
        "cached": stage["cached"],
        "changes": changes,
        "notes": [*stage.get("notes", []), *([stage["busy"]] if stage.get("busy") else [])],
        "curves": curves(stage.get("curve", [])),
    }


def _short_keys(value: Any) -> Any:
    return {short(key): one for key, one in value.items()} if isinstance(value, Mapping) else value


def _processor(stage: Any) -> str:
    cpu_s = stage.get("cpu_seconds")
    return "" if cpu_s is None else f" ({figures.seconds(cpu_s)} of processors)"


def _threads(number: int | None) -> str:
    if number is None:
        return ""
    return f" on {number} thread{'' if number == 1 else 's'}"


def _data(report: Report) -> dict[str, Any] | None:
    data = report.get("data")
    if data is None:
        return None
    classes = "; ".join(f"{short(name)}: {len(names)}" for name, names in data["classes"].items())
    return {**data, "classes": classes}
