"""Networks and files that have learned nothing: no better than one answer to every clip, or indeed one answer.

Such a run can pass every gate on size, latency and agreement, and its report would look like a success.
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
"""A figure that guessing reaches with at least this probability is no evidence of having learned anything."""


def at_chance(
    path: str,
    top1: float | Mapping[str, float] | None,
    *,
    spec: ClipSpec,
    labels: Tensor,
    predicted: Mapping[str, Sequence[int]] | None = None,
) -> Iterator[WarningReport]:
    """What is wrong with the answers of a network or a file to the test split, one warning a label column.

    `spec` has the label columns that it answers, `labels` their true class indices, `N` x label columns of `spec`;
    `answered` the different classes among its answers, where they are known.
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
            problem = f"answers {only!r} to all {clips} test clips"
        else:
            chance = max(usual, 1 / len(column.classes))
            correct = round(share * clips)
            if guessed(correct, clips, chance=chance) < LEVEL:
                continue
            problem = (
                f"{100 * share:.1f} % of {clips} test clips right cannot be told from chance: one answer to every "
                f"clip, {name!r}, gives {100 * usual:.1f} %"
            )
        yield WarningReport(
            path=path,
            label=column.name,
            message=f"{problem}. It has learned nothing that can be shown; "
            "give it more clips or more epochs, or look at the labels",
        )


def guessed(correct: int, clips: int, *, chance: float) -> float:
    """Probability that guesses which are right with probability `chance` get `right` of `clips` or more."""
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
    """The different classes among a network's answers by label column; `columns` are logits `N K` of each."""
    return {
        label.name: sorted(set(torch.as_tensor(column).argmax(1).tolist()))
        for label, column in zip(spec.labels, columns, strict=False)
    }
