"""Figures of a teacher and a student that was briefly trained on the labels, for one label column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from compress.diagnosis.probe import information_bits


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What a network makes of some clips."""

    logits: Tensor
    """`N K`."""
    embedding: Tensor | None
    """The input of the classifiers, `N F`; None for a network without it."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Shares are 0..1; clips are those of the validation split unless stated otherwise."""

    clips: int
    teacher_top1: float
    teacher_train_top1: float
    """Accuracy on the training labels, without augmentation."""
    student_top1: float
    """Accuracy of the student that was briefly trained on the labels alone."""
    teacher_wins: float
    """Share of clips that the teacher classifies correctly and the student does not."""
    teacher_loses: float
    contradicted_labels: float
    """Share of the training labels that differ from the prediction of the teacher."""
    top_probability: float
    """Mean largest probability of the teacher at the temperature."""
    balanced_temperature: float
    """Temperature at which the mean largest probability of the teacher is 0.6."""
    non_target_mass: float
    """Mean probability of all classes but the label, at the temperature."""
    non_target_entropy_bits: float
    """Mean entropy of the distribution over the other classes; at most log2(K - 1)."""
    confusion_correlation: float | None
    """Spearman's rank correlation between the mean probabilities that teacher and student give to wrong classes,
    over all pairs of classes; None for fewer than 3 classes."""
    information_of_teacher_bits: float
    """Lower bound of the information that the student's embedding has about the teacher's predicted class."""
    information_of_labels_bits: float
    """Lower bound of the information that the student's embedding has about the label."""
    cka: float | None
    """Similarity of both embeddings."""


def figures_of(
    teacher: Observed,
    student: Observed,
    *,
    labels: Tensor,
    teacher_on_training: Tensor,
    training_labels: Tensor,
    temperature: float,
) -> Figures:
    """Compares both networks on the clips with the class indices `labels`, `N`."""
    classes = teacher.logits.shape[1]
    soft = (teacher.logits / temperature).softmax(1)
    right, ours = teacher.logits.argmax(1) == labels, student.logits.argmax(1) == labels
    mass, entropy = non_target(soft, labels)
    on_training = teacher_on_training.argmax(1)
    representation = student.logits if student.embedding is None else student.embedding
    return Figures(
        clips=len(labels),
        teacher_top1=_share(right),
        teacher_train_top1=_share(on_training == training_labels),
        student_top1=_share(ours),
        teacher_wins=_share(right & ~ours),
        teacher_loses=_share(ours & ~right),
        contradicted_labels=_share(on_training != training_labels),
        top_probability=float(soft.amax(1).mean()),
        balanced_temperature=balanced_temperature(teacher.logits),
        non_target_mass=mass,
        non_target_entropy_bits=entropy,
        confusion_correlation=confusion_correlation(
            soft, (student.logits / temperature).softmax(1), labels=labels
        ),
        information_of_teacher_bits=information_bits(
            representation, torch.eye(classes)[teacher.logits.argmax(1)]
        ),
        information_of_labels_bits=information_bits(representation, torch.eye(classes)[labels]),
        cka=None
        if teacher.embedding is None or student.embedding is None
        else linear_cka(teacher.embedding, student.embedding),
    )


def balanced_temperature(logits: Tensor, *, wanted: float = 0.6) -> float:
    """Temperature at which the mean largest probability is `wanted`, between 0.01 and 100."""
    low, high = 0.01, 100.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        if (logits.double() / middle).softmax(1).amax(1).mean() > wanted:
            low = middle
        else:
            high = middle
    return low


def non_target(probabilities: Tensor, labels: Tensor) -> tuple[float, float]:
    """Mean probability of the other classes, and mean entropy of their renormalised distribution in bits."""
    others = probabilities.double().scatter(1, labels[:, None], 0.0)
    mass = others.sum(1)
    shares = others / mass[:, None].clamp_min(1e-300)
    entropy = -(shares * shares.clamp_min(1e-300).log2()).sum(1)
    return float(mass.mean()), float(entropy.mean())


def confusion_correlation(teacher: Tensor, student: Tensor, *, labels: Tensor) -> float | None:
    """Spearman's correlation of the off-diagonal mean probabilities by class, `N K` each.

    Classes without clips are ignored. None if fewer than 3 classes remain or if one side is constant.
    """
    present = labels.unique()
    if teacher.shape[1] < 3 or len(present) < 2:
        return None
    sides = []
    for probabilities in (teacher, student):
        rows = torch.stack([probabilities[labels == k].mean(0) for k in present])
        others = torch.ones_like(rows, dtype=torch.bool)
        others[torch.arange(len(present)), present] = False
        sides.append(rows[others].double().numpy())
    if any(np.ptp(side) == 0 for side in sides):
        return None
    return float(spearmanr(*sides).statistic)


def linear_cka(one: Tensor, other: Tensor) -> float:
    """Linear centred kernel alignment of features `N F` and `N G`, in 0..1.

    Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", equation 4.
    """
    one, other = one.double() - one.double().mean(0), other.double() - other.double().mean(0)
    shared = torch.linalg.matrix_norm(one.T @ other) ** 2
    own = torch.linalg.matrix_norm(one.T @ one) * torch.linalg.matrix_norm(other.T @ other)
    return float(shared / own) if own > 0 else 0.0


def _share(correct: Tensor) -> float:
    return float(correct.double().mean())
