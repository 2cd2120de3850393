"""Soft targets: the teacher's softmax probabilities at a temperature."""

from __future__ import annotations

import torch
from torch import Tensor

from compress.criterion import Outputs
from compress.distillation.loss import DistillationLoss
from compress.losses import soft_targets


class SoftTargets(DistillationLoss):
    """Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2."""

    def forward(self, student: Outputs, teacher: Outputs) -> Tensor:
        """The Kullback-Leibler divergence of each label column."""
        return torch.stack(
            [
                soft_targets(ours, theirs, temperature=self.pair.temperature)
                for ours, theirs in zip(student.logits, teacher.logits, strict=True)
            ]
        )
