"""`distill`: the student learns the teacher's soft answers.

Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network"; one consistent view for
teacher and student after Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent".
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from pydantic import Field
from torch import nn

from compress.artifact import Artifact, Context
from compress.console import bar
from compress.stage import StageResult, training_job
from compress.teacher import TaughtConfig, learn_from_teacher
from compress.training import (
    FLOAT_BATCH,
    Objective,
    accuracy,
    batch_notes,
    fit,
    learn_from_labels,
    logits_of,
    per_label,
)


class DistillConfig(TaughtConfig):
    """Settings of one `distill` stage."""

    baseline: bool = Field(
        default=False,
        description="Also train the same student on the labels alone, for the same number of steps, to compare.",
    )


def distill(artifact: Artifact, config: DistillConfig, context: Context) -> StageResult:
    """The student after learning from the teacher; `ValueError` when the run has no teacher."""
    if context.teacher is None:
        raise ValueError("distill needs a teacher; the recipe has none")

    def trained(objective: Objective, name: str) -> tuple[nn.Module, tuple[dict[str, float], ...]]:
        model = copy.deepcopy(artifact.model)
        curve = fit(
            model,
            context.data.train.seen_by(artifact.spec),
            objective=objective,
            config=config,
            validation=context.data.validation.seen_by(artifact.spec),
            job=training_job(name, context),
        )
        return model, curve

    figures: dict[str, Any] = {}
    if config.baseline:
        baseline, _ = trained(learn_from_labels(label_smoothing=config.label_smoothing), "labels alone")
        test = context.data.test.seen_by(artifact.spec)
        with bar(context.console, "testing the baseline") as report:
            logits = logits_of(baseline, test, batch=FLOAT_BATCH, device=context.device, report=report)
        figures["labels_only_top1"] = per_label(accuracy(logits, test), artifact.spec, data=context.data.spec)
    objective = learn_from_teacher(
        context.teacher, context.data.train, spec=artifact.spec, config=config, context=context
    )
    model, curve = trained(objective, "distill")
    notes = batch_notes(config, context.data.train)
    return StageResult(artifact=replace(artifact, model=model), curve=curve, notes=notes, figures=figures)
