"""Cross-layer equalization: outputs stay, ranges become equal."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from compress.quantization.equalization import equalize
from tests.export.networks import trained


def ranges(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Largest weight of each channel between two layers, in the first and in the second."""
    return first.flatten(1).abs().amax(1), second.transpose(0, 1).flatten(1).abs().amax(1)


def uneven(network: nn.Module) -> nn.Module:
    """The network with channels of the first layer whose weights differ by a factor of 100."""
    network = trained(network)
    weight = next(network.parameters()).data
    weight *= torch.logspace(-1, 1, len(weight)).reshape(-1, *[1] * (weight.dim() - 1))
    return network


def kept(network: nn.Module, example: Tensor) -> int:
    """Equalizes and compares outputs; the number of pairs."""
    with torch.no_grad():
        before = network(example)
        pairs = equalize(network, (example,))
        after = network(example)
    assert torch.allclose(before, after, rtol=1e-5, atol=1e-5 * float(before.abs().max()))
    return pairs


def test_ranges_of_two_linear_layers_become_the_geometric_mean_of_both() -> None:
    network = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    first, second = network[0], network[2]
    first.weight.data, first.bias.data = torch.tensor([[8.0], [1.0]]), torch.tensor([4.0, 1.0])
    second.weight.data = torch.tensor([[2.0, 4.0]])
    assert kept(network, torch.ones(1, 1)) == 1
    # sqrt(8 * 2) = 4 and sqrt(1 * 4) = 2: the first channel was divided by 2, the second by 1/2.
    assert first.weight.flatten().tolist() == [4.0, 2.0] and first.bias.tolist() == [2.0, 2.0]
    assert second.weight.flatten().tolist() == [4.0, 2.0]


def test_a_chain_of_convolutions_with_pooling_is_equalized_until_all_ranges_are_equal() -> None:
    network = uneven(
        nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1)
        )
    )
    assert kept(network, torch.rand(2, 3, 12, 12)) == 2
    layers = [layer.weight.detach() for layer in network if isinstance(layer, nn.Conv2d)]
    for first, second in pairwise(layers):
        assert torch.allclose(*ranges(first, second), rtol=1e-2)


def test_the_batchnorm_and_a_depthwise_layer_behind_take_the_factors() -> None:
    network = uneven(
        nn.Sequential(
            nn.Conv3d(3, 6, 1, bias=False),
            nn.BatchNorm3d(6),
            nn.ReLU(inplace=True),
            nn.Conv3d(6, 6, 3, groups=6),
        )
    )
    clip = torch.rand(1, 3, 4, 8, 8)
    assert kept(network, clip) == 1
    gain = (network[1].weight / (network[1].running_var + network[1].eps).sqrt()).abs()
    folded = network[0].weight.flatten(1).abs().amax(1) * gain
    assert torch.allclose(folded, network[3].weight.flatten(1).abs().amax(1), rtol=1e-3)


class Residual(nn.Module):
    """The output of the first layer is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x).relu()
        return y + self.two(y)


@pytest.mark.parametrize(
    "network",
    [
        *(
            nn.Sequential(nn.Conv2d(3, 4, 1), act, nn.Conv2d(4, 2, 1))
            for act in (nn.ReLU6(), nn.Hardswish(), nn.SiLU(), nn.Sigmoid())
        ),
        Residual(),
    ],
    ids=["relu6", "hardswish", "silu", "sigmoid", "residual"],
)
def test_where_it_is_not_exact_nothing_is_changed(network) -> None:
    network = uneven(network)
    before = [parameter.clone() for parameter in network.parameters()]
    assert kept(network, torch.rand(1, 3, 4, 4)) == 0
    assert all(map(torch.equal, before, network.parameters()))


def test_a_channel_of_zeros_stays() -> None:
    network = uneven(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    network[0].weight.data[0] = 0
    network[2].weight.data[:, 1] = 0
    assert kept(network, torch.rand(5, 3)) == 1
    assert all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())
