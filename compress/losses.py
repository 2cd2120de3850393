"""Loss functions of teachers and students on logits.

Shapes: `student`, `teacher` are `N K` logits; `labels` are `N` class indices.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(
    student: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Mean over the clips of the cross-entropy with the labels, times `weights`, `N`, if given.

    Smoothing: Szegedy et al. 2016, section 7.
    """
    if weights is None:
        return F.cross_entropy(student, labels, label_smoothing=label_smoothing)
    each = F.cross_entropy(student, labels, label_smoothing=label_smoothing, reduction="none")
    return (weights * each).mean()


def soft_targets(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from the teacher's softmax at `temperature`, times temperature squared.

    Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def standardized(logits: Tensor) -> Tensor:
    """Logits `N K` with mean 0 and standard deviation 1 over the classes of each clip.

    Source: Sun et al. 2024, "Logit Standardization in Knowledge Distillation", algorithm 1; as in its code, the
    standard deviation is that of a sample, plus 1e-7.
    """
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + 1e-7)


def binary_cross_entropy(logits: Tensor, tags: Tensor) -> Tensor:
    """Mean binary cross-entropy over clips and tags; `tags` is 0 or 1, `N K` like `logits`."""
    return F.binary_cross_entropy_with_logits(logits, tags)


def contrastive(clips: Tensor, captions: Tensor, numbers: Tensor) -> Tensor:
    """InfoNCE loss: mean cross-entropy in both directions between the clips and captions of the batch.

    `clips` and `captions` are `N F` whose inner products are logits; `numbers`, `N`, are equal for clips with the
    same caption, and -1 for a clip without one, which is ignored. Clips that share a caption are all positives.
    Source: Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding"; Radford et al. 2021
    (CLIP), figure 3; several positives as in Khosla et al. 2020, "Supervised Contrastive Learning".
    """
    has = numbers >= 0
    if not has.any():
        return clips.sum() * 0.0
    logits, same = clips[has] @ captions[has].T, numbers[has].unsqueeze(1) == numbers[has]
    wanted = same / same.sum(1, keepdim=True)
    return 0.5 * (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted))
