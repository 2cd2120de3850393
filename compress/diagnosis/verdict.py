"""The verdict on a teacher, from the figures of `compress/diagnosis/figures.py`.

The rules follow published conditions of useful teachers; their limits were chosen on the cells of the table in
`docs/distillation.md`, which compares predicted with measured gains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compress.diagnosis.figures import Figures

Word = Literal["helps", "neutral", "harms"]

WORSE = 0.05
"""A teacher with fewer correct clips than the briefly trained student, by this share, harms."""
CLEANED = 0.05
"""Share of the training labels that the teacher contradicts beyond its own errors: it has not memorised them."""
INFORMATION_BITS = 0.05
"""Difference of I(student; teacher) and I(student; labels) that counts as larger."""
UNDECIDED = 0.5
"""A balanced temperature below this is that of a teacher whose predictions are nearly uniform."""
CONFIDENT = 0.85
"""Mean largest probability from which a soft target is hardly more than a label."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether distillation is expected to raise the accuracy of the student, and what to try."""

    word: Word
    reason: str
    advice: tuple[str, ...]
    """Settings of the recipe."""


def verdict_of(figures: Figures) -> Verdict:
    """The verdict for one label column."""
    word, reason = _decided(figures)
    return Verdict(word=word, reason=reason, advice=_advice(figures, word))


def _decided(found: Figures) -> tuple[Word, str]:
    lead = found.teacher_wins - found.teacher_loses
    cleaned = found.contradicted_labels - (1 - found.teacher_top1)
    information = found.information_of_teacher_bits - found.information_of_labels_bits
    if lead < -WORSE:
        return "harms", (
            f"the teacher has {-lead:.1%} fewer correct validation clips than the student after a brief training "
            "on the labels"
        )
    if cleaned > CLEANED:
        return "helps", (
            f"the teacher contradicts {found.contradicted_labels:.1%} of the training labels and is wrong on "
            f"{1 - found.teacher_top1:.1%} of the validation clips: it corrects noisy labels"
        )
    if information > INFORMATION_BITS and lead > 0:
        return "helps", (
            f"the student's features tell {information:.2f} bits more about the teacher's predictions than about "
            "the labels: it can follow the teacher where it cannot follow the labels"
        )
    if found.top_probability > CONFIDENT:
        return "neutral", (
            f"the teacher's mean largest probability is {found.top_probability:.2f}: its targets are hardly more "
            "than the labels"
        )
    return "neutral", "the teacher's predictions are no easier for the student than the labels"


def _advice(found: Figures, word: Word) -> tuple[str, ...]:
    if word == "harms":
        return ("train the teacher longer, or train the student without it",)
    advice = []
    if found.balanced_temperature >= UNDECIDED:
        advice.append(
            f"try distillation temperature {found.balanced_temperature:.3g}, at which it gives 0.6 to its choice"
        )
    else:
        advice.append(
            f"train the teacher longer: it is undecided, with {found.top_probability:.2f} for its choice on average"
        )
    if found.top_probability > CONFIDENT:
        advice.append(
            "standardise the logits (`standardize: true`), so that the student need not match their size"
        )
    if found.contradicted_labels - (1 - found.teacher_top1) > CLEANED:
        advice.append("give the labels a small weight (`label_weight: 0.1`)")
    return tuple(advice)
