"""Correct predictions, and confidence intervals of their share."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from benchmarks.top1 import Accuracy, accuracy_of, correct_predictions


def test_right_answers_are_counted_for_tensors_and_arrays_under_any_number_of_conditions():
    logits = torch.tensor([[3.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    labels = torch.tensor([0, 0, 2])
    assert accuracy_of(logits, labels) == Accuracy(correct=2, total=3)
    assert accuracy_of(logits.numpy(), labels.numpy()).top1 == 2 / 3
    twice = np.stack([logits.numpy(), -logits.numpy()])
    assert correct_predictions(twice, labels).tolist() == [[True, False, True], [False, True, False]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_answer_that_is_not_finite_is_wrong(bad):
    logits = torch.tensor([[bad, 0.0], [1.0, 0.0]])
    assert accuracy_of(logits, torch.tensor([0, 0])).correct == 1


def test_plain_data_has_the_counts_and_what_follows():
    plain = Accuracy(correct=3, total=4).to_dict()
    assert (plain["top1"], plain["correct"], plain["total"]) == (0.75, 3, 4)
    assert plain["ci95"][0] < 0.75 < plain["ci95"][1]


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (385, 400)])
def test_interval_is_wilsons(right, total):
    z, share = 1.959963984540054, right / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    assert Accuracy(correct=right, total=total).interval == pytest.approx(
        (centre - half, centre + half), abs=1e-9
    )
    assert Accuracy(correct=right, total=total).interval == pytest.approx(
        tuple(binomtest(right, total).proportion_ci(method="wilson")), abs=1e-12
    )
