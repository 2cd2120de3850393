"""Trains a student briefly on the labels, and runs it and the teacher on the validation clips."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from benchmarks.clips.clip_set import ClipSet
from compress.criterion import LabelCriterion
from compress.diagnosis.figures import Figures, Observed, figures_of
from compress.features import EMBEDDING, WithFeatures
from compress.sources.source import FilesConfig
from compress.stage import training_job
from compress.steps.pipeline import Run, StageOutcome
from compress.steps.train import student_code
from compress.store import stored, write_atomic
from compress.training import FLOAT_BATCH, TrainConfig, fit, logits_of
from models.heads import has_heads
from models.spec import ClipSpec

Found = Mapping[str, Mapping[str, Figures]]
"""Figures by teacher and label column."""

LEAST_VALIDATION = 20
"""Smallest number of validation clips for which figures are computed."""
_FIGURES = "figures.json"
_CODE = ("compress.diagnosis.observe", "compress.diagnosis.figures", "compress.diagnosis.probe")


def check_validation(run: Run) -> None:
    """Raises `ValueError` for too few validation clips, before any training."""
    clips = len(run.data.validation)
    if clips < LEAST_VALIDATION:
        key = "validation_fraction" if isinstance(run.recipe.data, FilesConfig) else "clips.validation"
        raise ValueError(
            f"a diagnosis needs {LEAST_VALIDATION} validation clips or more, and there are {clips}; raise "
            f"data.{key}, or give the data a larger validation split"
        )


def observe(run: Run, teachers: Sequence[StageOutcome], *, config: TrainConfig, temperature: float) -> Found:
    """The figures of every teacher for each label column that it shares with the student.

    `config` are the settings of the brief training, whose result is cached. Raises `ValueError` for a teacher
    that shares no label column.
    """
    key = run.key(
        code=[*_CODE, *student_code(run)],
        student=run.settings_of(run.recipe.student),
        teachers=[teacher.key for teacher in teachers],
        config=run.settings_of(config),
        temperature=temperature,
    )

    def make(folder: Path) -> None:
        student = _briefly_trained(run, config, folder=folder)
        ours = _observed(student, run.student_spec, run.data.validation, run=run)
        found = {one.path: _figures(run, one, ours, temperature=temperature) for one in teachers}
        plain = {
            teacher: {name: asdict(one) for name, one in of_columns.items()}
            for teacher, of_columns in found.items()
        }
        write_atomic(folder / _FIGURES, json.dumps(plain, indent=1))

    def load(folder: Path) -> Found:
        plain = json.loads((folder / _FIGURES).read_text(encoding="utf-8"))
        return {
            teacher: {name: Figures(**values) for name, values in of_columns.items()}
            for teacher, of_columns in plain.items()
        }

    return stored(
        run.cache / "diagnosis" / key[:32],
        key=key,
        make=make,
        load=load,
        names=(_FIGURES, "*/checkpoint.pt"),
        scratch=("*/checkpoint.pt",),
        title="diagnosis",
        notify=run.notify,
    ).value


def _briefly_trained(run: Run, config: TrainConfig, *, folder: Path) -> nn.Module:
    """The student after a training on the labels."""
    student, spec = run.first_student(None), run.student_spec
    fit(
        student,
        run.data.train.for_spec(spec),
        criterion=LabelCriterion(label_smoothing=config.label_smoothing),
        config=config,
        validation=run.data.validation.for_spec(spec),
        job=training_job("student on labels", run.context(folder, ())),
    )
    return student


def _figures(
    run: Run, teacher: StageOutcome, ours: list[Observed], *, temperature: float
) -> dict[str, Figures]:
    spec, theirs = run.student_spec, teacher.artifact.spec
    shared = [label.name for label in spec.labels if label.name in {one.name for one in theirs.labels}]
    if not shared:
        raise ValueError(f"student and {teacher.path} share no label column")
    validation, train = run.data.validation, run.data.train
    taught = _observed(teacher.artifact.model, theirs, validation, run=run)
    on_training = logits_of(
        teacher.artifact.model, train.for_spec(theirs), batch=FLOAT_BATCH, device=run.device
    )
    found = {}
    for name in shared:
        own, other = _place(spec, name), _place(theirs, name)
        found[name] = figures_of(
            taught[other],
            ours[own],
            labels=validation.for_spec(spec).labels[:, own],
            teacher_on_training=on_training[other],
            training_labels=train.for_spec(spec).labels[:, own],
            temperature=temperature,
        )
    return found


def _observed(model: nn.Module, spec: ClipSpec, clips: ClipSet, *, run: Run) -> list[Observed]:
    """The logits of each label column, each with the embedding that they share."""
    columns, embedded = len(spec.labels), has_heads(model)
    network = WithFeatures(model, (EMBEDDING,), columns=columns) if embedded else model
    outputs = logits_of(network, clips.for_spec(spec), batch=FLOAT_BATCH, device=run.device)
    embedding: Tensor | None = outputs[columns] if embedded else None
    return [Observed(logits=logits, embedding=embedding) for logits in outputs[:columns]]


def _place(spec: ClipSpec, name: str) -> int:
    return [label.name for label in spec.labels].index(name)
