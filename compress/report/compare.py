"""Compares two finished runs: figures side by side, and the change of top-1 on the same clips."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.predictions import FOLDER
from compress import figures
from compress.report.columns import measured_names
from compress.report.environment import shown
from compress.report.files import share_covered, verdict
from compress.report.headline import MODEL_TITLES
from compress.report.read import read_report
from compress.report.significance import paired_change
from compress.report.wording import counted, mean_share, short
from compress.report_shape import PairedReport, Report

REPORT = "report.json"
MOST_DIFFERENCES = 60


def compare_runs(before: Path, after: Path) -> dict[str, Any]:
    """The comparison of two runs as plain data; both are folders of runs, or their report.json.

    Raises FileNotFoundError if there is no report, and ValueError if it is none.
    """
    reports = [read_report(_report_of(place)) for place in (before, after)]
    one, other = reports
    places = [_report_of(place).parent / FOLDER for place in (before, after)]
    names = _paired_order(*(measured_names(report["files"]) for report in reports))
    return {
        "runs": [_run(place, report) for place, report in zip((before, after), reports, strict=True)],
        "networks": list(_networks(one, other)),
        "files": list(_files(one, other)),
        "changes": [row for name in names for row in _changes(name, *places)],
        "latency": list(_latency(one, other)),
        "recipe": _differences(one["recipe"], other["recipe"]),
        "environment": _differences(one["environment"], other["environment"]),
    }


def comparison_page(found: Mapping[str, Any]) -> dict[str, Any]:
    """Everything for the templates, as text."""
    changes = found["changes"]
    measured = [row["paired"] for row in changes if row["paired"] is not None]
    worse = [row for row in changes if row["paired"] and verdict(row["paired"]).startswith("worse")]
    better = [row for row in changes if row["paired"] and verdict(row["paired"]).startswith("better")]
    if not measured:
        sentence, tone = "No file has predictions for the same clips in both runs", "plain"
    else:
        sentence = f"{counted(len(measured), 'comparison')} on the same clips: {len(worse)} worse, "
        sentence += (
            f"{len(better)} better, {len(measured) - len(worse) - len(better)} without a significant change"
        )
        tone = "bad" if worse else "good" if better else "plain"
    return {
        "name": " → ".join(short(run["name"], 60) for run in found["runs"]),
        "runs": [{**run, "name": short(run["name"], 60)} for run in found["runs"]],
        "verdict": sentence,
        "tone": tone,
        "networks": [_pair_row(row, _NETWORK_FIGURES) for row in found["networks"]],
        "files": [_pair_row(row, _FILE_FIGURES) for row in found["files"]],
        "changes": [_change_row(row) for row in changes],
        "latency": [_latency_row(row) for row in found["latency"]],
        "recipe": [_difference_row(row) for row in found["recipe"][:MOST_DIFFERENCES]],
        "recipe_left_out": max(0, len(found["recipe"]) - MOST_DIFFERENCES),
        "environment": [_difference_row(row) for row in found["environment"][:MOST_DIFFERENCES]],
    }


def _report_of(place: Path) -> Path:
    return place / REPORT if place.is_dir() else place


def _run(place: Path, report: Report) -> dict[str, Any]:
    return {"path": str(place), "name": report["recipe"].get("name", "recipe")}


def _paired_order(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return [name for name in one if name in other]


def _networks(one: Report, other: Report) -> Iterator[dict[str, Any]]:
    sides: list[Mapping[str, Any]] = [report["models"] for report in (one, other)]  # type: ignore[list-item]
    for name in MODEL_TITLES:
        models = [side.get(name) for side in sides]
        if any(models):
            yield {
                "name": MODEL_TITLES[name],
                "top1": [mean_share((model or {}).get("top1")) for model in models],
                "macs": [(model or {}).get("macs") for model in models],
                "parameters": [(model or {}).get("parameters") for model in models],
            }


def _by_name(report: Report) -> dict[str, Mapping[str, Any]]:
    return {figures.name_of(file): file for file in report["files"]}


def _files(one: Report, other: Report) -> Iterator[dict[str, Any]]:
    sides = [_by_name(report) for report in (one, other)]
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        files = [side.get(name) for side in sides]
        yield {
            "name": name,
            "status": [None if file is None else file.get("status", "exported") for file in files],
            "top1": [None if file is None else mean_share(file["accuracy"]["top1"]) for file in files],
            "size_bytes": [None if file is None else file["size_bytes"] for file in files],
            "coverage": [
                None if file is None else (file.get("coverage") or {}).get("share") for file in files
            ],
        }


def _latency(one: Report, other: Report) -> Iterator[dict[str, Any]]:
    sides = [
        {(name, row["device"]): row for name, file in _by_name(report).items() for row in file["latency"]}
        for report in (one, other)
    ]
    for name, device in sides[0]:
        rows = [side.get((name, device)) for side in sides]
        if all(row is not None and row["p50_ms"] is not None for row in rows):
            yield {
                "name": name,
                "device": device,
                "p50_ms": [row["p50_ms"] for row in rows if row],
                "p50_ci95_ms": [row.get("p50_ci95_ms") for row in rows if row],
                "threads": [row["threads"] for row in rows if row],
            }


def _changes(name: str, before: Path, after: Path) -> Iterator[dict[str, Any]]:
    """The paired change of one file in each label column; the reason why there is none."""
    tables = [_predictions(folder / f"{name}.csv") for folder in (before, after)]
    nothing = {"name": name, "label": "", "clips": 0, "paired": None}
    for table, folder in zip(tables, (before, after), strict=True):
        if table is None:
            yield {**nothing, "reason": f"{folder}: has no predictions of {name}"}
            return
    one, other = tables
    assert one is not None and other is not None
    if [row[:3] for row in one[1:]] != [row[:3] for row in other[1:]]:
        yield {**nothing, "reason": "the runs have different test clips"}
        return
    for label in (column.removesuffix("_correct") for column in one[0] if column.endswith("_correct")):
        if f"{label}_correct" not in other[0]:
            yield {**nothing, "label": label, "reason": f"only one run has the label column {label}"}
            continue
        if _column(one, label) != _column(other, label):
            yield {**nothing, "label": label, "reason": "the clips have different labels in the two runs"}
            continue
        correct = [np.array(_column(table, f"{label}_correct")) == "1" for table in (one, other)]
        paired = paired_change(correct[0], correct[1], videos=[row[0] for row in one[1:]])
        yield {"name": name, "label": label, "clips": len(one) - 1, "paired": paired}


def _predictions(path: Path) -> list[list[str]] | None:
    """Rows of the predictions of a file, with the header; None if there are none."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream)) or None


def _column(table: list[list[str]], name: str) -> list[str]:
    at = table[0].index(name)
    return [row[at] for row in table[1:]]


def _differences(one: Any, other: Any, path: str = "") -> list[dict[str, Any]]:
    """Values at the same path that differ; a key that one side lacks has the value None there."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = dict.fromkeys([*one, *other])
        found = (_differences(one.get(key), other.get(key), f"{path}.{key}" if path else key) for key in keys)
        return [row for rows in found for row in rows]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        found = (_differences(a, b, f"{path}.{at}") for at, (a, b) in enumerate(zip(one, other, strict=True)))
        return [row for rows in found for row in rows]
    return [] if one == other else [{"path": path, "values": [one, other]}]


_NETWORK_FIGURES = {"top1": figures.percent, "parameters": figures.count, "macs": figures.count}
_FILE_FIGURES = {"top1": figures.percent, "size_bytes": figures.size}


def _pair_row(row: Mapping[str, Any], shows: Mapping[str, Any]) -> dict[str, Any]:
    cells = [_cell(key, [show(value) for value in row[key]], row[key]) for key, show in shows.items()]
    if "coverage" in row:
        shares = ["not determined" if one is None else share_covered(one) for one in row["coverage"]]
        cells.append(_cell("coverage", shares, row["coverage"]))
    status = [one for one in row.get("status", ()) if one != "exported"]
    missing = "in one run only" if None in status else ", ".join(dict.fromkeys(status))
    return {"name": row["name"], "cells": cells, "status": missing}


def _cell(key: str, texts: list[str], values: list[float | None]) -> dict[str, str]:
    before, after = values
    change = ""
    if before is not None and after is not None and before != after:
        change = (
            f"{figures.points(100 * (before - after))} points"
            if key in ("top1", "coverage")
            else f"{100 * (after / before - 1):+.1f} %".replace("-", "−")
            if before
            else ""
        )
    return {"values": " → ".join(dict.fromkeys(texts)), "change": change}


def _change_row(row: Mapping[str, Any]) -> dict[str, str]:
    paired: PairedReport | None = row["paired"]
    if paired is None:
        return {
            "name": row["name"],
            "label": short(row["label"]) if row["label"] else "",
            "reason": row["reason"],
        }
    low, high = (figures.points(-end) for end in paired["ci95_pp"])
    return {
        "name": row["name"],
        "label": short(row["label"]),
        "change": figures.points(-paired["change_pp"]),
        "interval": f"{low} to {high}",
        "counts": f"{paired['lost']} lost, {paired['won']} won of {row['clips']}",
        "verdict": verdict(paired),
        "reason": "",
    }


def _latency_row(row: Mapping[str, Any]) -> dict[str, str]:
    before, after = row["p50_ms"]
    apart = [ends for ends in row["p50_ci95_ms"] if ends]
    overlap = len(apart) == 2 and apart[0][0] <= apart[1][1] and apart[1][0] <= apart[0][1]
    return {
        "name": row["name"],
        "device": row["device"],
        "before": figures.milliseconds(before),
        "after": figures.milliseconds(after),
        "change": f"{100 * (after / before - 1):+.1f} %".replace("-", "−"),
        "note": "intervals overlap" if overlap else "" if len(apart) == 2 else "no intervals",
    }


def _difference_row(row: Mapping[str, Any]) -> dict[str, str]:
    before, after = (short(shown(row["path"], value), 80) for value in row["values"])
    return {"path": short(row["path"], 80), "before": before, "after": after}
