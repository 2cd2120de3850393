"""What happens around a cut: BatchNorm statistics, and group-sparse training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from compress.criterion import Criterion
from compress.pruning.dependencies import find_groups
from compress.pruning.sparse_training import GroupSparsity, channel_energy, penalty
from compress.pruning.statistics import estimate_statistics


class Spec:
    """Inputs of three features."""

    def example(self, batch=1, seed=0):
        return (torch.randn(batch, 3, generator=torch.Generator().manual_seed(seed)),)


class Clips:
    """Eight inputs, twice the same four."""

    values = torch.arange(12.0).view(4, 3).repeat(2, 1)

    def __len__(self):
        return len(self.values)

    def batch(self, indices):
        return (self.values[indices],)


def network():
    model = nn.Sequential(
        nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2), nn.Dropout(0.5), nn.Linear(2, 2)
    ).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        model[1].weight.copy_(torch.tensor([4.0, 0.0]))
        model[3].weight.zero_()
    return model


def test_statistics_of_batch_norms_are_those_of_the_clips():
    model = network()
    before = model[1].weight.detach().clone()
    seen = estimate_statistics(model, Clips(), batch=8, device=torch.device("cpu"), seed=0)
    inputs = model[0](Clips.values)
    assert seen == 8
    torch.testing.assert_close(model[1].running_mean, inputs.mean(0))
    torch.testing.assert_close(model[1].running_var, inputs.var(0))
    assert model[1].weight.equal(before) and not any(layer.training for layer in model.modules())


def test_a_network_without_batch_norms_has_no_statistics():
    device = torch.device("cpu")
    assert estimate_statistics(nn.Linear(3, 2), Clips(), batch=8, device=device, seed=0) == 0


def test_the_energy_of_a_channel_sums_its_squared_weights_over_the_group():
    (group,) = find_groups(network(), Spec())
    assert channel_energy(group).tolist() == [25.0, 1.0]  # 9 + 16, and 1


def test_the_penalty_of_the_weakest_channel_counts_sixteen_times():
    (group,) = find_groups(network(), Spec())
    assert penalty(group).item() == pytest.approx(0.5 * (25 + 16 * 1))


def test_training_with_the_penalty_shrinks_the_weak_channel_more():
    class Nothing(Criterion):
        features = ("embedding",)

        def parts(self, outputs, batch):
            return torch.zeros(()), torch.zeros(())

    model = network()
    criterion = GroupSparsity(Nothing(), find_groups(model, Spec()), weight=0.01)
    assert criterion.features == ("embedding",) and not list(criterion.parameters())
    criterion(None, None).backward()
    shrinking = model[0].weight.grad / model[0].weight.clamp(min=1e-9)
    assert shrinking[0, 0].item() == pytest.approx(0.01) and shrinking[1, 1].item() == pytest.approx(0.16)
