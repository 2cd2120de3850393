"""Pruning criteria on a network of two channels, whose scores can be computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.pruning import PRUNING_CRITERIA
from compress.pruning.criterion import LabelledClips
from compress.pruning.dependencies import find_groups
from compress.pruning.gradients import leave_mean_gradients, leave_mean_squared_gradients


class Spec:
    """Inputs of three features."""

    def example(self, batch=1, seed=0):
        return (torch.randn(batch, 3, generator=torch.Generator().manual_seed(seed)),)


class Net(nn.Module):
    """Three features, `channels` hidden ones with BatchNorm, two classes."""

    def __init__(self, channels=2):
        super().__init__()
        self.first = nn.Linear(3, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.last = nn.Linear(channels, 2, bias=False)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


def network(*, first, gamma, last):
    model = Net(len(gamma)).eval()
    with torch.no_grad():
        model.first.weight.copy_(torch.tensor(first))
        model.norm.weight.copy_(torch.tensor(gamma))
        model.last.weight.copy_(torch.tensor(last))
    return model


def two_channels():
    return network(first=[[1.0, 2.0, 0.0], [0.0, 3.0, 1.0]], gamma=[0.5, 2.0], last=[[1.0, 2.0], [3.0, 1.0]])


def clips(count=2):
    return [
        LabelledClips(inputs=Spec().example(batch=4, seed=seed), labels=torch.tensor([[0], [1], [1], [0]]))
        for seed in range(count)
    ]


def scores(name, model):
    importance = PRUNING_CRITERIA[name](model, iter(clips()))
    (group,) = find_groups(model, Spec())
    return group.importance(importance)


def relative(values):
    """Criteria of torch-pruning divide by the mean over the group."""
    values = torch.tensor(values)
    return values / values.mean()


def test_magnitude_is_the_squared_norm_over_all_layers_of_the_group():
    # rows of the first layer 5 and 10, gamma squared 0.25 and 4, columns of the last layer 10 and 5
    assert torch.allclose(scores("magnitude", two_channels()), relative([15.25, 19.0]))


def test_bn_scale_is_the_absolute_gamma_and_removes_the_channel_with_gamma_zero_first():
    assert torch.allclose(scores("bn_scale", two_channels()), relative([0.5, 2.0]))
    model = network(first=[[9.0] * 3, [1.0] * 3], gamma=[0.0, 0.1], last=[[9.0, 1.0], [9.0, 1.0]])
    assert scores("bn_scale", model).argmin() == 0


def test_lamp_divides_by_the_sum_of_all_channels_that_are_at_least_as_large():
    # mean over three layers of the group; 4 / (4 + 9 + 25), 9 / (9 + 25), 25 / 25
    model = network(
        first=[[3.0, 0, 0], [2.0, 0, 0], [5.0, 0, 0]], gamma=[0.0] * 3, last=[[0.0] * 3, [0.0] * 3]
    )
    assert torch.allclose(scores("lamp", model), torch.tensor([9 / 34, 4 / 38, 1.0]))


def test_fpgm_is_the_sum_of_distances_to_the_other_channels():
    # squared rows 1, 4, 16 of the first layer: distances 3 + 15, 3 + 12, 15 + 12; the last layer is equal
    model = network(first=[[1.0, 0, 0], [2.0, 0, 0], [4.0, 0, 0]], gamma=[1.0] * 3, last=[[1.0] * 3] * 2)
    assert torch.allclose(scores("fpgm", model), relative([18.0, 15.0, 27.0]))


def test_taylor_is_the_sum_of_weight_times_gradient():
    model = two_channels()
    whole = LabelledClips(
        inputs=(torch.cat([one.inputs[0] for one in clips()]),),
        labels=torch.cat([one.labels for one in clips()]),
    )
    nn.functional.cross_entropy(model(*whole.inputs), whole.labels[:, 0]).backward()
    product = {layer: (layer.weight * layer.weight.grad).abs() for layer in (model.first, model.last)}
    expected = (product[model.first].sum(1) + product[model.last].sum(0)).tolist()
    assert torch.allclose(scores("taylor", two_channels()), relative(expected))


def test_hessian_is_weight_squared_times_the_mean_squared_gradient_of_single_clips():
    model, expected = two_channels(), torch.zeros(2)
    for batch in clips():
        for k in range(4):
            model.zero_grad()
            logits = model(batch.inputs[0][k : k + 1])
            nn.functional.cross_entropy(logits, batch.labels[k]).backward()
            for layer, axis in ((model.first, 1), (model.last, 0)):
                expected += (layer.weight.detach() * layer.weight.grad).square().sum(axis) / 8
            expected += (model.norm.weight.detach() * model.norm.weight.grad).square() / 8
    assert torch.allclose(scores("hessian", two_channels()), relative(expected.tolist()), rtol=1e-4)


def test_the_fisher_diagonal_is_the_hessian_of_a_logistic_regression_at_the_true_probabilities():
    """Two clips with equal inputs and both labels: at the probabilities 1/2, Fisher and Hessian agree."""
    model = nn.Linear(1, 2, bias=False)
    nn.init.zeros_(model.weight)
    batch = LabelledClips(inputs=(torch.full((2, 1), 3.0),), labels=torch.tensor([[0], [1]]))
    leave_mean_squared_gradients(model, [batch])
    hessian = torch.autograd.functional.hessian(
        lambda w: nn.functional.cross_entropy(batch.inputs[0] @ w.T, batch.labels[:, 0]),
        model.weight.detach(),
    )
    assert torch.allclose(model.weight.grad.flatten(), hessian.reshape(2, 2).diagonal())


def test_gradients_are_the_mean_over_all_clips_and_zero_where_the_loss_does_not_depend():
    model = two_channels()
    model.unused = nn.Linear(2, 2)
    leave_mean_gradients(model, clips())
    assert not model.unused.weight.grad.any() and model.first.weight.grad.any()


@pytest.mark.parametrize("name", ["taylor", "hessian"])
def test_a_criterion_of_gradients_needs_clips(name):
    with pytest.raises(ValueError, match="needs training clips, but there are none"):
        PRUNING_CRITERIA[name](two_channels(), iter(()))


def test_random_scores_are_equal_in_every_run():
    assert scores("random", two_channels()).equal(scores("random", two_channels()))
