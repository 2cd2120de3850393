"""A teacher of ours learns its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.artifact import Artifact
from compress.stage import StageResult
from compress.tasks import TaskWeights, Truth, learn_tasks, task_names
from compress.teacher_answers import check_on_clips
from compress.training import Job, batch_notes, fit

if TYPE_CHECKING:
    from compress.data import Data
    from compress.recipe.sections import TableTeacher


def train_teacher(artifact: Artifact, config: TableTeacher, *, data: Data, job: Job) -> StageResult:
    """The teacher after learning its tasks; `artifact` holds it as it was drawn, and is trained in place."""
    spec = artifact.spec
    train, validation = data.train.seen_by(spec), data.validation.seen_by(spec)
    tasks = task_names(spec)
    weighted = TaskWeights(artifact.model, len(tasks)) if config.weighting == "uncertainty" else None
    objective = learn_tasks(
        spec,
        Truth.of(train, spec, tag_separator=data.tag_separator),
        weights=config.tasks or dict.fromkeys(tasks, 1.0),
        label_smoothing=config.train.label_smoothing,
        log_variance=weighted.log_variance if weighted else None,
    )
    curve = fit(
        weighted or artifact.model,
        train,
        objective=objective,
        config=config.train,
        validation=validation,
        job=job,
    )
    check_on_clips(artifact.model, spec, train, device=job.device, what="the trained teacher")
    figures = {}
    if weighted is not None:
        learned = (-weighted.log_variance).exp().tolist()
        figures["task_weights"] = dict(zip(tasks, learned, strict=True))
    notes = batch_notes(config.train, train)
    return StageResult(artifact=artifact, curve=curve, notes=notes, figures=figures)
