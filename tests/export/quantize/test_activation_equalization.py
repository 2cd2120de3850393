"""Activation equalization: outputs stay, small channels use the range of their tensor."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from export.capture.graph import capture
from export.quantize.activation_equalization import LARGEST, MARGIN, equalize_activations
from tests.export.networks import trained


def kept(network: nn.Module, clips: Tensor) -> int:
    """Equalizes and compares outputs on the clips of calibration; the number of changed pairs."""
    with torch.no_grad():
        before = network(clips)
        pairs = equalize_activations(network, capture(network, (clips,)), [(clips,)])
        after = network(clips)
    assert torch.allclose(before, after, rtol=1e-5, atol=1e-5 * float(before.abs().max()))
    return pairs


def depthwise(clamp: nn.Module) -> nn.Sequential:
    """Channels that reach 3, 0.3 and 0.003 for an input of 1, and a depthwise layer after them."""
    network = nn.Sequential(
        nn.Conv2d(1, 3, 1, bias=False), clamp, nn.Conv2d(3, 3, 1, groups=3, bias=False), nn.Flatten()
    )
    network[0].weight.data = torch.tensor([3.0, 0.3, 0.003]).reshape(3, 1, 1, 1)
    return network.eval()


def test_channels_before_a_depthwise_layer_reach_the_limit_of_the_clamp() -> None:
    network = depthwise(nn.ReLU6())
    second = network[2].weight.detach().flatten().clone()
    assert kept(network, torch.ones(1, 1, 2, 2)) == 1
    factors = torch.tensor([6 / (3 * MARGIN), 6 / (0.3 * MARGIN), LARGEST])
    torch.testing.assert_close(network[0].weight.flatten(), torch.tensor([3.0, 0.3, 0.003]) * factors)
    torch.testing.assert_close(network[2].weight.flatten(), second / factors)


def test_without_a_clamp_channels_reach_the_largest_of_them() -> None:
    network = depthwise(nn.ReLU())
    assert kept(network, torch.ones(1, 1, 2, 2)) == 1
    torch.testing.assert_close(network[0].weight.flatten(), torch.tensor([3.0, 3.0, 0.003 * LARGEST]))


def test_a_dense_layer_stays_as_its_weights_would_lose_what_activations_gain() -> None:
    network = nn.Sequential(nn.Linear(1, 3, bias=False), nn.ReLU(), nn.Linear(3, 1, bias=False)).eval()
    network[0].weight.data = torch.tensor([[8.0], [2.0], [2.0]])
    assert kept(network, torch.ones(1, 1)) == 0
    assert network[0].weight.flatten().tolist() == [8.0, 2.0, 2.0]


def test_a_silent_channel_and_one_at_the_limit_stay() -> None:
    network = depthwise(nn.ReLU6())
    network[0].weight.data = torch.tensor([9.0, 0.0, -1.0]).reshape(3, 1, 1, 1)
    before = [parameter.clone() for parameter in network.parameters()]
    assert kept(network, torch.ones(1, 1, 2, 2)) == 0
    assert all(map(torch.equal, before, network.parameters()))


def test_the_batchnorm_and_pooling_between_take_part() -> None:
    network = trained(
        nn.Sequential(
            nn.Conv3d(3, 6, 1, bias=False),
            nn.BatchNorm3d(6),
            nn.ReLU6(inplace=True),
            nn.MaxPool3d(2),
            nn.Conv3d(6, 6, 3, groups=6),
        )
    )
    network[1].weight.data *= torch.logspace(-2, 0, 6)
    network[1].bias.data *= torch.logspace(-2, 0, 6)
    assert kept(network, torch.rand(2, 3, 6, 8, 8)) == 1


@pytest.mark.parametrize("act", [nn.Hardswish(), nn.SiLU(), nn.Hardtanh(), nn.Hardtanh(0.5, 6.0)])
def test_where_it_is_not_exact_nothing_is_changed(act) -> None:
    network = depthwise(act)
    before = [parameter.clone() for parameter in network.parameters()]
    assert kept(network, torch.ones(1, 1, 2, 2)) == 0
    assert all(map(torch.equal, before, network.parameters()))
