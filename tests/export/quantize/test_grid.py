"""Scales of groups: how weights are divided, which scales they get, and what a graph stores."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torchao.quantization.pt2e  # noqa: F401  registers torch.ops.torchao
from torch import Tensor, nn

from export.capture.graph import capture
from export.lower import lower
from export.quantize.grid import Grid, channels_per_group, grid_of_least_error, group_notes
from export.quantize.weight_only import store_weights, weight_grids

READ = torch.ops.torchao.dequantize_affine.default


def weights(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("shape", "group_size", "channels"),
    [
        ((8, 64), 32, 32),
        ((8, 48), 32, 24),
        ((8, 64, 3, 3), 32, 2),
        ((8, 64, 3, 3), 128, 8),
        ((8, 64, 5, 5), 32, 1),
        ((8, 32), 32, None),  # one group
        ((8, 74), 32, None),  # 2 and 37 divide it
        ((8, 64, 7, 7), 32, None),  # one channel has more weights
    ],
)
def test_groups_are_whole_input_channels_of_half_the_size_or_more(shape, group_size, channels):
    assert channels_per_group(shape, group_size=group_size) == channels


def test_each_group_has_the_scale_of_its_own_weights():
    weight = torch.tensor([[7.0, -7.0, 3.5, 1.0], [0.0, 0.0, 14.0, 2.0]])
    grid = grid_of_least_error(weight, limit=7, group_size=2)
    assert grid.scale.tolist() == [[1.0, 0.5], [1.0, 2.0]] and grid.has_groups
    assert grid.integers(weight).tolist() == [[7, -7, 7, 2], [0, 0, 7, 1]]
    assert torch.equal(grid.rounded(weight), weight)
    assert grid.stored_bytes(weight) == 8 / 2 + 4 * 2


def test_scales_of_groups_are_values_of_both_16_bit_types():
    scale = grid_of_least_error(weights(64, 256), limit=7, group_size=32).scale
    assert scale.shape == (64, 8)
    assert torch.equal(scale, scale.half().float()) and torch.equal(scale, scale.bfloat16().float())


def test_smaller_groups_have_less_error():
    weight = weights(64, 64, 3, 3) * torch.rand(64, 64, 1, 1, generator=torch.Generator().manual_seed(1))
    errors = [
        float((weight - grid_of_least_error(weight, limit=7, group_size=size).rounded(weight)).square().sum())
        for size in (32, 64, 128, None)
    ]
    assert errors == sorted(errors) and errors[0] < 0.5 * errors[-1]


def test_a_channel_too_small_for_float16_scales_keeps_the_scale_of_its_channel():
    weight = weights(4, 64)
    weight[1] *= 1e-6
    grid = grid_of_least_error(weight, limit=7, group_size=32)
    assert not grid.has_groups
    assert (grid.rounded(weight) - weight)[1].norm() < 0.2 * weight[1].norm()


class Two(nn.Module):
    """A layer of 64 input channels and one of 74 between the edges."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (32, 64, 74, 64, 4)
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)


def test_a_graph_stores_integers_and_scales_of_groups_and_notes_the_layers_without():
    torch.manual_seed(0)
    graph = lower(capture(Two().eval(), (torch.rand(2, 32),)))
    grids = weight_grids(graph, scheme="w4", group_size=32)
    assert [(grid.bits, tuple(grid.scale.shape)) for grid in grids.values()] == [
        (8, (64,)), (4, (74, 2)), (4, (64,)), (8, (4,)),
    ]  # fmt: skip
    stored = store_weights(graph, scheme="w4", group_size=32)
    (read,) = [node for node in stored.graph.nodes if node.target is READ]
    numbers, scales = (getattr(stored, str(read.args[at].target)) for at in (0, 2))
    assert numbers.dtype is torch.int8 and scales.shape == (74, 2) and read.args[1] == [1, 32]
    x, name = torch.rand(2, 32), list(grids)[1]
    rounded = {
        key: grids[key].rounded(value) if key in grids else value for key, value in graph.named_parameters()
    }
    assert torch.allclose(stored(x), torch.func.functional_call(graph, rounded, (x,)), atol=1e-6)
    said = group_notes(grids, dict(graph.named_parameters()), group_size=32)
    count = 32 * 64 + 64 * 74 + 74 * 64 + 64 * 4
    size = 32 * 64 + 64 * 4 + 4 * (64 + 4) + (64 * 74 + 74 * 64) / 2 + 74 * 2 * 2 + 64 * 4
    assert said[0] == (
        "group_size 32: 1 of 2 int4 weights have a scale per group; all weights take "
        f"{size / count:.3f} bytes each, including scales"
    )
    assert said[1].startswith(
        f"{list(grids)[2]}: one scale per output channel, because no group of whole input"
    )
    assert name not in said[1] and "16 to 32 weights" in said[1]
    assert group_notes(grids, {}, group_size=None) == ()


def test_groups_of_other_schemes_are_refused():
    graph = lower(capture(Two().eval(), (torch.rand(2, 32),)))
    with pytest.raises(ValueError, match="group_size is for scheme w4 only; scheme w8 does not use it"):
        store_weights(graph, scheme="w8", group_size=32)


def test_a_grid_per_channel_has_no_groups():
    grid = Grid(scale=torch.tensor([1.0, 2.0]), limit=127)
    assert not grid.has_groups and grid.stored_bytes(torch.zeros(2, 3)) == 6 + 8
    assert grid.rounded(torch.tensor([[1.4, 2.6, 200.0], [3.1, 1.0, -2.0]])).tolist() == [
        [1.0, 3.0, 127.0], [4.0, 0.0, -2.0],
    ]  # fmt: skip
