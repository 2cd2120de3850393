"""Trains a student briefly on the labels, and runs it and the teacher on the validation clips."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from torch import Tensor, nn

from benchmarks.clips.clip_set import ClipSet
from compress.criterion import LabelCriterion
from compress.diagnosis.figures import Figures, Observed, figures_of
from compress.features import EMBEDDING, WithFeatures
from compress.stage import training_job
from compress.steps.pipeline import Run, StageOutcome
from compress.steps.train import student_code
from compress.store import stored, write_atomic
from compress.training import FLOAT_BATCH, TrainConfig, fit, logits_of
from models.heads import has_heads
from models.spec import ClipSpec

LEAST_VALIDATION = 20
"""Smallest number of validation clips for which figures are computed."""
_FIGURES = "figures.json"
_CODE = ("compress.diagnosis.observe", "compress.diagnosis.figures", "compress.diagnosis.probe")


def observe(
    run: Run, teacher: StageOutcome, *, config: TrainConfig, temperature: float
) -> Mapping[str, Figures]:
    """The figures of each label column that student and teacher share, by name.

    `config` are the settings of the brief training, whose result is cached. Raises `ValueError` for too few
    validation clips, and if no label column is shared.
    """
    if len(run.data.validation) < LEAST_VALIDATION:
        raise ValueError(
            f"a diagnosis needs {LEAST_VALIDATION} validation clips or more, there are {len(run.data.validation)}; "
            "raise data.validation_fraction"
        )
    key = run.key(
        code=[*_CODE, *student_code(run)],
        student=run.settings_of(run.recipe.student),
        teacher=teacher.key,
        config=run.settings_of(config),
        temperature=temperature,
    )

    def make(folder: Path) -> None:
        found = _figures(run, teacher, config=config, temperature=temperature, folder=folder)
        write_atomic(
            folder / _FIGURES, json.dumps({name: asdict(one) for name, one in found.items()}, indent=1)
        )

    def load(folder: Path) -> dict[str, Figures]:
        plain = json.loads((folder / _FIGURES).read_text(encoding="utf-8"))
        return {name: Figures(**values) for name, values in plain.items()}

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


def _figures(
    run: Run, teacher: StageOutcome, *, config: TrainConfig, temperature: float, folder: Path
) -> dict[str, Figures]:
    spec, theirs = run.student_spec, teacher.artifact.spec
    shared = [label.name for label in spec.labels if label.name in {one.name for one in theirs.labels}]
    if not shared:
        raise ValueError("student and teacher share no label column")
    student = run.first_student(None)
    fit(
        student,
        run.data.train.for_spec(spec),
        criterion=LabelCriterion(label_smoothing=config.label_smoothing),
        config=config,
        validation=run.data.validation.for_spec(spec),
        job=training_job("student on labels", run.context(folder, None)),
    )
    validation, train = run.data.validation, run.data.train
    ours = _observed(student, spec, validation, run=run)
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
