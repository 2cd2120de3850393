"""Settings of a diagnosis, from a recipe."""

from __future__ import annotations

import math

from compress.distill import DistillConfig
from compress.recipe.sections import Recipe, TeacherStudent

SHARE = 0.2
"""Share of the epochs of `distill` for which the student is trained on the labels."""


def briefly(recipe: Recipe, *, epochs: int | None = None) -> DistillConfig:
    """The settings of the training on the labels.

    Raises `ValueError` for a recipe without teacher or `distill`, and for one whose student is the teacher.
    """
    stages = [entry.config for entry in recipe.stages if entry.verb == "distill"]
    if not recipe.named_teachers or not stages:
        raise ValueError(
            "a diagnosis is about distillation: the recipe needs a teacher and the stage distill"
        )
    if isinstance(recipe.student, TeacherStudent):
        raise ValueError(
            "student.from is teacher: teacher and student are the same network, so there is nothing to compare; "
            "a diagnosis is about a student that starts from other weights"
        )
    config = stages[0]
    assert isinstance(config, DistillConfig)
    return config.model_copy(update={"epochs": epochs or max(1, math.ceil(SHARE * config.epochs))})


def temperature_of(recipe: Recipe) -> float:
    """The temperature of `kd`; 1 for a recipe with other losses."""
    for _, row, settings in recipe.distillation.losses.chosen():
        if row == "kd":
            return float(settings.temperature)  # type: ignore[attr-defined]
    return 1.0
