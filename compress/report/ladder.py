"""The way from the teacher to the files: top-1, operations, size and latency at every step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from compress import figures
from compress.report.headline import MODEL_TITLES, TAGS
from compress.report.wording import mean_share, title_of_stage
from compress.report_shape import Report

FLOAT_BYTES = 4
"""Bytes of a float32 parameter: the size of a network is that of its weights."""

COLUMNS = ("Top-1", "Operations", "Size", "Latency")


class _Step(NamedTuple):
    name: str
    kind: str
    """`teacher`, `student` or `file`."""
    top1: float | None
    macs: float | None
    size_bytes: float | None
    latency_ms: float | None


def ladder(report: Report) -> dict[str, Any] | None:
    """One row per step, each figure as text and as a bar relative to the largest of its column."""
    steps = list(_steps(report))
    if not steps:
        return None
    shares = [step.top1 for step in steps if step.top1 is not None]
    largest = [
        max((value for value in values if value is not None), default=None)
        for values in zip(*(step[3:] for step in steps), strict=True)
    ]
    several = any(isinstance((model or {}).get("top1"), Mapping) for model in _models(report).values())
    return {
        "columns": COLUMNS,
        "rows": [
            {
                "name": step.name,
                "kind": step.kind,
                "cells": [
                    _cell(step.top1, 1.0 if shares else None, figures.percent),
                    _cell(step.macs, largest[0], figures.count),
                    _cell(step.size_bytes, largest[1], figures.size),
                    _cell(step.latency_ms, largest[2], figures.milliseconds),
                ],
            }
            for step in steps
        ],
        "mean": several,
        "device": next((row["device"] for one in report["files"] for row in one["latency"][:1]), ""),
    }


def _cell(value: float | None, largest: float | None, show: Any) -> dict[str, Any]:
    if value is None or not largest:
        return {"text": "–", "width": 0.0}
    return {"text": show(value), "width": round(100 * value / largest, 1)}


def _models(report: Report) -> Mapping[str, Any]:
    return report["models"]  # type: ignore[return-value]


def _steps(report: Report) -> Iterator[_Step]:
    models = _models(report)
    teachers = [name for name in MODEL_TITLES if name.startswith("teacher") and models.get(name)]
    for name in teachers:
        yield _network(MODEL_TITLES[name], "teacher", models[name])
    alone = models.get("student_labels_only")
    if alone:
        yield _network(MODEL_TITLES["student_labels_only"], "student", alone)
    for stage in report["stages"]:
        if stage["path"] not in teachers and stage["after"].get("top1") is not None:
            quantized = stage["name"] == "quantize"
            yield _network(
                f"after {title_of_stage(stage)}", "student", stage["after"], has_size=not quantized
            )
    for file in report["files"]:
        if file.get("status") in TAGS:
            continue
        coverage, first = file.get("coverage"), file["latency"][:1]
        yield _Step(
            name=figures.name_of(file),
            kind="file",
            top1=mean_share(file["accuracy"]["top1"]),
            macs=None if coverage is None else coverage["macs"],
            size_bytes=file["size_bytes"],
            latency_ms=first[0]["p50_ms"] if first else None,
        )


def _network(name: str, kind: str, figure: Mapping[str, Any], *, has_size: bool = True) -> _Step:
    parameters = figure.get("parameters") if has_size else None
    return _Step(
        name=name,
        kind=kind,
        top1=mean_share(figure["top1"]),
        macs=figure.get("macs"),
        size_bytes=None if parameters is None else FLOAT_BYTES * parameters,
        latency_ms=None,
    )
