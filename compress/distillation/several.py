"""Distillation from several teachers: the weighted mean of the losses with each of them.

Source: You et al. 2017, "Learning from Multiple Teacher Networks", section 3.2 (averaged soft targets), here as an
average of losses, since teachers may predict other label columns and give other features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from compress.criterion import Batch, Criterion, Outputs


class SeveralTeachers(Criterion):
    """The mean of the criteria with each teacher alone, weighted; the weights are divided by their sum.

    A label column that a teacher does not predict is learned from the labels in the share of that teacher.
    """

    def __init__(self, criteria: Sequence[Criterion], *, weights: Sequence[float]) -> None:
        super().__init__()
        self.criteria = nn.ModuleList(criteria)
        self.features = tuple(dict.fromkeys(name for one in criteria for name in one.features))
        self.notes = tuple(note for one in criteria for note in one.notes)
        self._shares = [weight / sum(weights) for weight in weights]

    def parts(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """The losses of a batch with the labels and with the teachers: scalars."""
        criteria = cast(Sequence[Criterion], self.criteria)
        of_each = [one.parts(outputs, batch) for one in criteria]
        shares = torch.tensor(self._shares, device=outputs.logits[0].device)
        task, distillation = (torch.stack(parts) @ shares for parts in zip(*of_each, strict=True))
        return task, distillation
