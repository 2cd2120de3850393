"""Figures of a diagnosis, on cases with known results."""

from __future__ import annotations

import math

import pytest
import torch

from compress.diagnosis.figures import (
    Observed,
    confusion_correlation,
    figures_of,
    linear_cka,
    non_target,
)
from compress.diagnosis.probe import information_bits


def labels_of(clips: int, classes: int) -> torch.Tensor:
    return torch.arange(clips) % classes


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_features_that_are_the_label_have_all_of_its_information():
    one_hot = torch.eye(4)[labels_of(80, 4)]
    assert information_bits(one_hot, one_hot) == pytest.approx(2.0, abs=0.02)


def test_unrelated_features_have_no_information():
    assert information_bits(noise(200, 5), torch.eye(4)[labels_of(200, 4)]) < 0.05


def test_information_about_half_of_a_label_is_half_of_its_bits():
    labels = labels_of(120, 4)
    assert information_bits(torch.eye(2)[labels // 2], torch.eye(4)[labels]) == pytest.approx(1.0, abs=0.03)


def test_soft_targets_carry_their_own_information():
    soft = torch.eye(2)[labels_of(100, 2)] * 0.8 + 0.1
    entropy = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert information_bits(torch.eye(2)[labels_of(100, 2)], soft) == pytest.approx(1 - entropy, abs=0.02)


def test_a_probe_of_fewer_clips_than_folds_is_refused():
    with pytest.raises(ValueError, match="a probe needs 5 clips or more, there are 4"):
        information_bits(noise(4, 2), torch.eye(2)[labels_of(4, 2)])


def test_probability_and_entropy_of_the_other_classes():
    soft = torch.tensor([[0.7, 0.15, 0.15], [0.2, 0.8, 0.0]])
    mass, entropy = non_target(soft, torch.tensor([0, 1]))
    assert mass == pytest.approx(0.25)
    assert entropy == pytest.approx((1.0 + 0.0) / 2), "two equal classes have 1 bit, a single one has none"


def test_confusions_in_the_same_order_correlate_and_in_reverse_order_do_not():
    labels = torch.arange(3)
    teacher = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.5, 0.4], [0.05, 0.45, 0.5]])
    assert confusion_correlation(teacher, teacher**2, labels=labels) == pytest.approx(1.0)
    assert confusion_correlation(teacher, 1 - teacher, labels=labels) == pytest.approx(-1.0)


def test_two_classes_have_no_confusions_to_compare():
    assert confusion_correlation(torch.eye(2), torch.eye(2), labels=torch.arange(2)) is None


def test_cka_ignores_rotation_and_scale_and_is_small_for_unrelated_features():
    features = noise(400, 6)
    rotation = torch.linalg.qr(noise(6, 6, seed=1)).Q
    assert linear_cka(features, 3 * features @ rotation) == pytest.approx(1.0)
    assert linear_cka(features, noise(400, 6, seed=2)) < 0.1


def test_figures_of_a_right_teacher_and_a_student_that_confuses_two_classes():
    labels = labels_of(60, 3)
    teacher = 8.0 * torch.eye(3)[labels]
    student = torch.where((labels == 2)[:, None], 8.0 * torch.eye(3)[1], teacher)
    noisy = torch.where(torch.arange(60) < 15, (labels + 1) % 3, labels)
    found = figures_of(
        Observed(logits=teacher, embedding=teacher),
        Observed(logits=student, embedding=None),
        labels=labels,
        teacher_on_training=teacher,
        training_labels=noisy,
        temperature=2.0,
    )
    assert (found.teacher_top1, found.student_top1) == (1.0, pytest.approx(2 / 3))
    assert (found.teacher_wins, found.teacher_loses) == (pytest.approx(1 / 3), 0.0)
    assert found.teacher_train_top1 == pytest.approx(0.75)
    assert found.contradicted_labels == pytest.approx(0.25)
    assert found.top_probability == pytest.approx(1 / (1 + 2 * math.exp(-4)))
    assert found.cka is None
    assert found.information_of_labels_bits == pytest.approx(math.log2(3) - 2 / 3, abs=0.05)
