import pytest
import torch
from torchmetrics.functional import kl_divergence

from compress.losses import cross_entropy, soft_targets


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_soft_targets_are_zero_for_equal_logits_and_positive_otherwise():
    logits = torch.randn(5, 7)
    assert soft_targets(logits, logits + 3, temperature=2).item() == pytest.approx(0, abs=1e-6)
    assert soft_targets(logits, torch.randn(5, 7), temperature=2) > 0.01


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_soft_targets_are_the_divergence_from_the_teacher_times_temperature_squared(temperature):
    student, teacher = torch.randn(6, 4), torch.randn(6, 4)
    expected = kl_divergence((teacher / temperature).softmax(1), (student / temperature).softmax(1))
    given = soft_targets(student, teacher, temperature=temperature)
    torch.testing.assert_close(given, expected * temperature**2)


def test_soft_targets_teach_only_the_student():
    student = torch.randn(3, 4, requires_grad=True)
    soft_targets(student, torch.randn(3, 4), temperature=2).backward()
    assert student.grad is not None and student.grad.abs().sum() > 0


def test_cross_entropy_with_smoothing_never_reaches_zero():
    logits, labels = torch.eye(3) * 50, torch.arange(3)
    assert cross_entropy(logits, labels) < 1e-6
    assert cross_entropy(logits, labels, label_smoothing=0.1) > 1
