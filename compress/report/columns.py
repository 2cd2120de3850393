"""The logits of all networks and files of a run on the test split, by label column."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clips.clip_set import ClipSet
from benchmarks.files import FileId
from benchmarks.predictions import FOLDER, predictions_name
from compress.artifact import Form
from compress.folders.ledger import Ledger
from compress.quantized_models import quantized_names
from compress.report.predictions import STUDENT, Column
from compress.steps.pipeline import Run, StageOutcome
from models.spec import ClipSpec


def columns_of(
    run: Run,
    *,
    teachers: Sequence[StageOutcome],
    stages: Sequence[StageOutcome],
    files: Sequence[Mapping[str, Any]],
) -> dict[str, Column]:
    """The logits by label column of the student; `files` are those of the report."""
    spec = run.student_spec
    clips = run.data.test.for_spec(spec)
    truth = clips.labels.numpy()
    networks = {one.path: one for one in teachers}
    floats = [one for one in stages if one.artifact.form is Form.FLOAT]
    networks |= dict.fromkeys([STUDENT], floats[-1]) if floats else {}
    networks |= named_quantized(stages)
    of_networks = {
        name: _by_label(
            one.artifact.spec,
            {
                output: logits.numpy()
                for output, logits in zip(one.artifact.spec.outputs, one.test_logits, strict=False)
            },
        )
        for name, one in networks.items()
    }
    of_files = {name: _by_label(spec, logits) for name, logits in _stored(run, files).items()}
    names, videos = clip_names(clips)
    return {
        label.name: Column(
            classes=label.classes,
            truth=truth[:, place],
            clips=names,
            videos=videos,
            networks={name: found[label.name] for name, found in of_networks.items() if label.name in found},
            files={name: found[label.name] for name, found in of_files.items()},
        )
        for place, label in enumerate(spec.labels)
    }


def named_quantized(stages: Sequence[StageOutcome]) -> dict[str, StageOutcome]:
    """The networks of the stages that quantize, by name."""
    found = [one for one in stages if one.artifact.form is Form.QUANTIZED]
    names = quantized_names([one.record["config"]["scheme"] for one in found])
    return dict(zip(names, found, strict=True))


def clip_names(clips: ClipSet) -> tuple[list[str], list[str]]:
    """A name of every clip, its path relative to the common folder with the time span; and that path alone."""
    if not clips.rows:
        return [], []
    root = os.path.commonpath([row.path.absolute().parent for row in clips.rows])
    paths = [row.path.absolute().relative_to(root).as_posix() for row in clips.rows]
    return [path + _span(row) for path, row in zip(paths, clips.rows, strict=True)], paths


def _span(row: Any) -> str:
    if row.start_s is None and row.end_s is None:
        return ""
    end = "the end" if row.end_s is None else f"{row.end_s:g} s"
    return f", {row.start_s or 0:g} to {end}"


def _by_label(spec: ClipSpec, logits: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        label.name: logits[output]
        for output, label in zip(spec.outputs, spec.labels, strict=False)
        if output in logits
    }


def _stored(run: Run, files: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    """Logits by output of every file on every device, as the step `benchmark` stored them."""
    folder = next(
        (place / FOLDER for place in (run.folder, *run.finished) if Ledger.read(place / FOLDER) is not None),
        None,
    )
    if folder is None:
        return {}
    return {name: _logits(folder / f"{name}.npz") for name in measured_names(files)}


def measured_names(files: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The accuracy of every file on every device where it was measured, by the name of its predictions."""
    found = {}
    for file in files:
        one = FileId(file["format"], file["scheme"])
        on_devices = [(None, file), *((entry["device"], entry) for entry in file.get("elsewhere", ()))]
        for device, entry in on_devices:
            if entry["accuracy"]["top1"] is not None:
                found[predictions_name(one, device=device)] = entry["accuracy"]
    return found


def _logits(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return dict(stored)
