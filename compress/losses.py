"""Losses for distillation: pure functions of logits.

Shapes: `student`, `teacher` are `N K` logits; `labels` are `N` class indices.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(student: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy with the labels (smoothing: Szegedy et al. 2016, section 7)."""
    return F.cross_entropy(student, labels, label_smoothing=label_smoothing)


def soft_targets(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from the teacher's softened classes, times temperature squared.

    Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2
