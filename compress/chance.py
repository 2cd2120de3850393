"""Warnings for networks and files at chance level: no better than a constant prediction.

Such a run can pass all gates on size, latency and agreement.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from compress.report_shape import WarningReport
from models.spec import ClipSpec

LEVEL = 0.05
"""Significance level: accuracy that guessing reaches with at least this probability is at chance."""


def at_chance(
    path: str,
    top1: float | Mapping[str, float] | None,
    *,
    spec: ClipSpec,
    labels: Tensor,
    predicted: Mapping[str, Sequence[int]] | None = None,
) -> Iterator[WarningReport]:
    """Warnings for the predictions of a network or a file on the test split, one per label column.

    `labels` are the true class indices, `N` x label columns of `spec`; `predicted` the distinct predicted classes
    by label column, if known.
    """
    for column, truth in zip(spec.labels, labels.T, strict=True):
        share = top1.get(column.name) if isinstance(top1, Mapping) else top1
        if share is None or len(truth) == 0:
            continue
        clips, counts = len(truth), torch.bincount(truth, minlength=len(column.classes))
        often = int(counts.argmax())
        name, usual = column.classes[often], int(counts.max()) / clips
        classes = list((predicted or {}).get(column.name, ()))
        if len(classes) == 1 and int((counts > 0).sum()) > 1:
            only = column.classes[classes[0]]
            problem = f"predicts {only!r} for all {clips} test clips"
        else:
            chance = max(usual, 1 / len(column.classes))
            correct = round(share * clips)
            if guessed(correct, clips, chance=chance) < LEVEL:
                continue
            problem = (
                f"top-1 of {100 * share:.1f} % on {clips} test clips is not above chance: always predicting "
                f"{name!r} gives {100 * usual:.1f} %"
            )
        yield WarningReport(
            path=path,
            label=column.name,
            message=f"{problem}; use more clips or more epochs, or check the labels",
        )


def guessed(correct: int, clips: int, *, chance: float) -> float:
    """Probability of at least `correct` of `clips` by guessing, each correct with probability `chance`."""
    if correct <= 0 or chance >= 1:
        return 1.0
    if chance <= 0:
        return 0.0
    terms = (
        math.lgamma(clips + 1)
        - math.lgamma(k + 1)
        - math.lgamma(clips - k + 1)
        + k * math.log(chance)
        + (clips - k) * math.log1p(-chance)
        for k in range(correct, clips + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def predicted_classes(columns: Sequence[Any], spec: ClipSpec) -> dict[str, list[int]]:
    """The distinct predicted classes by label column; `columns` are the logits `N K` of each."""
    return {
        label.name: sorted(set(torch.as_tensor(column).argmax(1).tolist()))
        for label, column in zip(spec.labels, columns, strict=False)
    }
