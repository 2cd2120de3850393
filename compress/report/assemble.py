"""Assembles the report of a run as plain data from the results of its steps."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from benchmarks.top1 import Accuracy
from compress import __version__
from compress.artifact import Form
from compress.chance import at_chance, predicted_classes
from compress.command.invocation import typed_again
from compress.figures import name_of
from compress.quantized_models import LAST
from compress.report.columns import columns_of, measured_names, named_quantized
from compress.report.predictions import Column, changes, compare_predictions
from compress.report_shape import SCHEMA_VERSION, Report, RobustnessReport, WarningReport
from compress.steps.benchmark import Benchmark, FileFigures
from compress.steps.export import file_id
from compress.steps.pipeline import Run, StageOutcome
from compress.training import per_label
from compress.versions import installed
from export.files import left_out


def assemble(
    run: Run,
    *,
    teachers: Sequence[StageOutcome],
    stages: Sequence[StageOutcome],
    files: Sequence[dict[str, Any]],
    measured: Benchmark,
    robustness: RobustnessReport | None,
) -> Report:
    """The content of `report.json` except for the gates, which are evaluated on it."""
    # A student may start as the teacher.
    outcomes = list({one.folder: one for one in (*teachers, *stages)}.values())
    rows = [_file(row, measured.files.get(file_id(row))) for row in files]
    columns = columns_of(run, teachers=teachers, stages=stages, files=rows)
    _add_changes(rows, columns)
    report = {
        "schema_version": SCHEMA_VERSION,
        "recipe": run.recipe.to_dict(),
        "environment": _environment(run, measured.devices),
        "data": {
            "source": run.recipe.data.source,
            "train": len(run.data.train),
            "validation": len(run.data.validation),
            "test": len(run.data.test),
            "unlabeled": len(run.data.taught) - len(run.data.train),
            "classes": {label.name: list(label.classes) for label in run.data.spec.labels},
        },
        "models": _models(run, teachers, stages),
        "stages": [{**outcome.record, "cached": outcome.cached} for outcome in outcomes],
        "files": rows,
        "predictions": {label: compare_predictions(column) for label, column in columns.items()},
        "reproduce": typed_again(without=("--fresh",)),
        "robustness": robustness,
        "gates": [],
        "skipped": [{"path": str(path), "reason": reason} for path, reason in run.data.skipped],
        "notes": [
            *left_out(run.recipe.export.formats, run.recipe.schemes),
            *run.data.notes,
            *_threads_differ(outcomes),
        ],
    }
    report["warnings"] = list(_warnings(run, outcomes, report))
    return cast(Report, report)


def _add_changes(files: Sequence[dict[str, Any]], columns: Mapping[str, Column]) -> None:
    """Adds the paired change of every file on every device, by label column, to its accuracy."""
    found = {label: changes(column) for label, column in columns.items()}
    for name, accuracy in measured_names(files).items():
        paired = {label: of_files[name] for label, of_files in found.items() if name in of_files}
        if paired:
            accuracy["paired"] = paired


def _threads_differ(outcomes: Sequence[StageOutcome]) -> list[str]:
    """A note if stages were computed with different numbers of threads."""
    threads = {outcome.path: outcome.record["threads"] for outcome in outcomes}
    if len(set(threads.values())) < 2:
        return []
    listed = ", ".join(f"{path} with {number}" for path, number in threads.items())
    return [
        f"Stages were computed with different numbers of threads ({listed}), which changes the rounding of sums: a "
        "run that computes all of them at once gives other weights."
    ]


def _warnings(run: Run, outcomes: Sequence[StageOutcome], report: dict[str, Any]) -> Iterator[WarningReport]:
    """Warnings for networks and files at chance level, in order of execution."""
    for outcome in outcomes:
        spec = outcome.artifact.spec
        yield from at_chance(
            f"models.{outcome.path}" if outcome.path in run.recipe.named_teachers else outcome.path,
            outcome.record["after"]["top1"],
            spec=spec,
            labels=run.data.test.for_spec(spec).labels,
            predicted=predicted_classes(outcome.test_logits, spec),
        )
    spec = run.student_spec
    truth = run.data.test.for_spec(spec).labels
    alone = report["models"].get("student_labels_only")
    if alone is not None:
        yield from at_chance("models.student_labels_only", alone["top1"], spec=spec, labels=truth)
    for file in report["files"]:
        accuracy = file["accuracy"]
        predicted = accuracy.get("classes_answered")
        path = f"files.{name_of(file)}"
        yield from at_chance(path, accuracy["top1"], spec=spec, labels=truth, predicted=predicted)


def _environment(run: Run, devices: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    first, *further = devices.items() or [("", None)]
    return {
        "pocketreel": __version__,
        "python": platform.python_version(),
        "packages": installed(),
        "training_device": run.device.type,
        "device": first[1],
        **({"further_devices": dict(further)} if further else {}),
    }


def _models(run: Run, teachers: Sequence[StageOutcome], stages: Sequence[StageOutcome]) -> dict[str, Any]:
    floats = [outcome for outcome in stages if outcome.artifact.form is Form.FLOAT]
    quantized = [outcome for outcome in stages if outcome.artifact.form is Form.QUANTIZED]
    student = run.recipe.student.title
    models: dict[str, Any] = {"teacher": None}
    models |= {
        one.path: _model(run, one, network=run.recipe.named_teachers[one.path].title) for one in teachers
    }
    models |= {
        "student_float": _model(run, floats[-1], network=student) if floats else None,
        LAST: _model(run, quantized[-1], network=student) if quantized else None,
    }
    models |= {name: _model(run, one, network=student) for name, one in named_quantized(stages).items()}
    alone = next((outcome for outcome in stages if outcome.labels_only is not None), None)
    if alone is not None and alone.labels_only is not None:
        models["student_labels_only"] = {
            **_model(run, alone, network=student),
            "tasks": {},
            **_shares(run, alone, alone.labels_only),
            "notes": ["trained on the labels alone, for as many steps as the distilled student"],
        }
    return models


def _model(run: Run, outcome: StageOutcome, *, network: str) -> dict[str, Any]:
    after = outcome.record["after"]
    return {
        **_shares(run, outcome, outcome.accuracy),
        "tasks": after["tasks"],
        "parameters": after["parameters"],
        "macs": after["macs"],
        "network": network,
        "inputs": list(outcome.artifact.spec.inputs),
    }


def _shares(run: Run, outcome: StageOutcome, found: list[Accuracy]) -> dict[str, Any]:
    """Top-1 on the test split with its 95 % interval."""
    spec, data = outcome.artifact.spec, run.data.spec
    return {
        "top1": per_label([one.top1 for one in found], spec, data=data),
        "ci95": per_label([one.interval for one in found], spec, data=data),
    }


def _file(row: dict[str, Any], figures: FileFigures | None) -> dict[str, Any]:
    reason = row["reason"]
    figures = figures or FileFigures(
        accuracy={"top1": None, "ci95": None, "clips": 0, "runtime": None, "reason": reason},
        parity={"max_abs_error": None, "sqnr_db": None, "top1_agreement": None, "reason": reason},
        elsewhere=[],
        latency=[],
        notes=[],
        step=None,
    )
    return {
        "format": row["format"],
        "path": f"export/{row['path']}" if row["path"] else None,
        "scheme": row["scheme"],
        "size_bytes": row["size_bytes"],
        "status": row["status"],
        "reason": reason,
        "accuracy": figures.accuracy,
        "parity": figures.parity,
        "elsewhere": figures.elsewhere,
        "latency": figures.latency,
        "seconds": row["seconds"],
        "float_layers": row["float_layers"],
        "coverage": row["coverage"],
        "step": _step(row["step"], clip=row, measured=figures.step),
        "notes": [*row["notes"], *figures.notes],
    }


def _step(
    row: Mapping[str, Any] | None, *, clip: Mapping[str, Any], measured: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The step program of a file; `measured` has its latency."""
    if row is None:
        return None
    return {
        "size_bytes": None if row["path"] == clip["path"] else row["size_bytes"],
        "coverage": row["coverage"],
        **(measured or {"p50_ms": None, "speedup": None, "speedup_ci95": None, "reason": "not measured"}),
    }
