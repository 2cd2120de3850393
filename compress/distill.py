"""`distill`: trains the student with the distillation losses of the section `distillation`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import Field
from torch import nn

from benchmarks.clips.clip_set import ClipSet
from compress.artifact import Artifact
from compress.command.progress import bar
from compress.criterion import Criterion, LabelCriterion
from compress.distillation.criterion import learn_from_teacher, teaching_notes
from compress.stage import Context, StageResult, training_job
from compress.training import (
    FLOAT_BATCH,
    TrainConfig,
    accuracy,
    batch_notes,
    by_column,
    fit,
    logits_of,
    per_label,
    selection_notes,
)


class DistillConfig(TrainConfig):
    """Settings of one `distill` stage."""

    baseline: bool = Field(
        default=False,
        description="Also train the same student on the labels alone, for the same number of steps.",
    )


def distill(artifact: Artifact, config: DistillConfig, context: Context) -> StageResult:
    """The distilled student; `ValueError` if the run has no teacher."""
    if context.teacher is None:
        raise ValueError("distill needs a teacher; the recipe has none")

    def trained(
        name: str, clips: ClipSet, config: DistillConfig, criterion_for: Callable[[nn.Module], Criterion]
    ) -> tuple[nn.Module, tuple[dict[str, float], ...], tuple[str, ...]]:
        model = copy.deepcopy(artifact.model)
        criterion = criterion_for(model)
        curve = fit(
            model,
            clips.for_spec(artifact.spec),
            criterion=criterion,
            config=config,
            validation=context.data.validation.for_spec(artifact.spec),
            job=training_job(name, context),
        )
        return model, curve, criterion.notes

    figures: dict[str, Any] = {}
    labelled, taught = context.data.train, context.data.taught
    if config.baseline:
        alone = LabelCriterion(label_smoothing=config.label_smoothing)
        longer = config.model_copy(update={"epochs": round(config.epochs * len(taught) / len(labelled))})
        baseline, _, _ = trained("labels alone", labelled, longer, lambda model: alone)
        test = context.data.test.for_spec(artifact.spec)
        with bar(context.console, "testing the baseline") as report:
            logits = logits_of(baseline, test, batch=FLOAT_BATCH, device=context.device, report=report)
        found, data = accuracy(logits, test), context.data.spec
        figures["labels_only_top1"] = per_label([one.top1 for one in found], artifact.spec, data=data)
        figures["labels_only_correct"] = by_column(found, artifact.spec)
    model, curve, of_teachers = trained(
        "distill",
        taught,
        config,
        lambda model: learn_from_teacher(model, artifact.spec, clips=taught, config=config, context=context),
    )
    unlabeled = len(taught) - len(labelled)
    notes = (
        *((f"learned {unlabeled:,} unlabeled clips from the teacher alone",) if unlabeled else ()),
        *batch_notes(config, taught),
        *selection_notes(config, curve),
        *teaching_notes(artifact.spec, context),
        *of_teachers,
    )
    return StageResult(artifact=replace(artifact, model=model), curve=curve, notes=notes, figures=figures)
