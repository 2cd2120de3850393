"""Verdicts of a diagnosis."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compress.diagnosis.figures import Figures
from compress.diagnosis.verdict import verdict_of

EQUAL = Figures(
    clips=200,
    teacher_top1=0.8,
    teacher_train_top1=0.85,
    student_top1=0.7,
    teacher_wins=0.2,
    teacher_loses=0.1,
    contradicted_labels=0.15,
    top_probability=0.6,
    balanced_temperature=2.0,
    non_target_mass=0.4,
    non_target_entropy_bits=2.0,
    confusion_correlation=0.3,
    information_of_teacher_bits=2.0,
    information_of_labels_bits=2.0,
    cka=0.5,
)
"""A teacher whose predictions are no easier for the student than the labels."""


@pytest.mark.parametrize(
    ("change", "word", "reason"),
    [
        ({}, "neutral", "no easier for the student than the labels"),
        ({"teacher_wins": 0.05, "teacher_loses": 0.2}, "harms", "15.0% fewer correct validation clips"),
        ({"contradicted_labels": 0.3}, "helps", "contradicts 30.0% of the training labels"),
        ({"information_of_teacher_bits": 2.3}, "helps", "0.30 bits more about the teacher's predictions"),
        ({"top_probability": 0.95}, "neutral", "hardly more than the labels"),
    ],
)
def test_each_rule_gives_its_verdict_and_reason(change, word, reason):
    verdict = verdict_of(replace(EQUAL, **change))
    assert verdict.word == word
    assert reason in verdict.reason


def test_a_confident_teacher_gets_the_advice_to_standardise_its_logits():
    verdict = verdict_of(replace(EQUAL, top_probability=0.95, balanced_temperature=7.5))
    assert verdict.advice[0].startswith("try distillation temperature 7.5")
    undecided = verdict_of(replace(EQUAL, top_probability=0.13, balanced_temperature=0.02))
    assert (
        undecided.advice[0]
        == "train the teacher longer: it is undecided, with 0.13 for its choice on average"
    )
    assert "standardize" in verdict.advice[1]
