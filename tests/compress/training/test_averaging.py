"""Averages of weights and BatchNorm statistics, against values by hand."""

import pytest
import torch
from torch import nn

from compress.training.averaging import averaged, re_estimate_batch_norm


def test_the_average_forgets_its_start_and_ends_at_its_decay():
    model = nn.Linear(1, 1, bias=False)
    average = averaged(model, decay=0.3)
    expected = None
    for number, value in enumerate((8.0, 4.0, 2.0, 16.0, 1.0)):
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
        decay = min(0.3, (1 + number) / (10 + number))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected)
    assert decay == 0.3 > 2 / 11


def test_counters_are_copied_and_statistics_averaged():
    model = nn.BatchNorm1d(1)
    average = averaged(model, decay=0.9)
    for value in (1.0, 3.0):
        model(torch.full((2, 1), value))
        average.update_parameters(model)
    assert average.module.num_batches_tracked == 2
    first, second = 0.1 * 1.0, 0.9 * 0.1 + 0.1 * 3.0
    assert average.module.running_mean.item() == pytest.approx(2 / 11 * first + 9 / 11 * second)


def test_statistics_are_the_mean_of_those_of_the_batches_and_nothing_else_changes():
    model = nn.Sequential(nn.BatchNorm1d(1, momentum=0.25), nn.Dropout(0.5), nn.BatchNorm1d(1, affine=False))
    model.train()
    model[1].eval()
    weights = {name: value.clone() for name, value in model.named_parameters()}
    batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [10.0]])]
    re_estimate_batch_norm(model, ((batch,) for batch in batches))
    assert model[0].running_mean.item() == pytest.approx((1 + 7) / 2)
    assert model[0].running_var.item() == pytest.approx((2 + 18) / 2)
    assert model[2].running_mean.item() == pytest.approx(0, abs=1e-6)
    assert model[0].momentum == 0.25 and model[0].training and not model[1].training
    assert all(weights[name].equal(value) for name, value in model.named_parameters())
