"""Recipes that a diagnosis refuses before any training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from compress.diagnosis.observe import check_validation
from compress.diagnosis.settings import briefly
from compress.recipe import parse_recipe

RECIPE = """
data: {{source: synthetic}}
teacher: {{network: multimodal_tiny, train: {{epochs: 1}}}}
student: {{{student}}}
stages: [{stages}]
export: {{formats: [onnx], schemes: [fp32]}}
gates: []
"""


def recipe(student: str = "network: mobilenet3d_tiny", stages: str = "distill: {epochs: 11}") -> Any:
    return parse_recipe(RECIPE.format(student=student, stages=f"{{{stages}}}"), name="diagnosed")


def test_the_student_is_trained_for_a_fifth_of_the_epochs() -> None:
    assert briefly(recipe()).epochs == 3
    assert briefly(recipe(), epochs=2).epochs == 2


def test_the_teacher_itself_as_the_student_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"student\.from is teacher: teacher and student are the same network"
    ):
        briefly(recipe(student="from: teacher"))


def test_a_recipe_without_distillation_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a teacher and the stage distill"):
        briefly(recipe(student="from: teacher", stages="prune: {macs: 0.5}"))


def test_too_few_validation_clips_are_refused_with_the_key_to_raise() -> None:
    run: Any = SimpleNamespace(recipe=recipe(), data=SimpleNamespace(validation=range(19)))
    with pytest.raises(
        ValueError, match=r"needs 20 validation clips or more, and there are 19; raise data\.clips"
    ):
        check_validation(run)
    run.data.validation = range(20)
    check_validation(run)
