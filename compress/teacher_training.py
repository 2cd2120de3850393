"""Trains a teacher on its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.artifact import Artifact
from compress.stage import StageResult
from compress.tasks import TaskCriterion, Truth, task_names
from compress.teacher_check import check_on_clips
from compress.training import Job, batch_notes, fit, selection_notes

if TYPE_CHECKING:
    from compress.data import Data
    from compress.recipe.sections import TableTeacher


def train_teacher(artifact: Artifact, config: TableTeacher, *, data: Data, job: Job) -> StageResult:
    """The trained teacher; `artifact` holds the initialised network, which is trained in place."""
    spec = artifact.spec
    train, validation = data.train.for_spec(spec), data.validation.for_spec(spec)
    criterion = TaskCriterion(
        spec,
        Truth.of(train, spec, tag_separator=data.tag_separator),
        weights=config.tasks or dict.fromkeys(task_names(spec), 1.0),
        label_smoothing=config.train.label_smoothing,
        learned=config.weighting == "uncertainty",
    )
    curve = fit(
        artifact.model, train, criterion=criterion, config=config.train, validation=validation, job=job
    )
    check_on_clips(artifact.model, spec, train, device=job.device, what="the trained teacher")
    learned = criterion.task_weights()
    figures = {} if learned is None else {"task_weights": learned}
    notes = batch_notes(config.train, train) + selection_notes(config.train, curve)
    return StageResult(artifact=artifact, curve=curve, notes=notes, figures=figures)
