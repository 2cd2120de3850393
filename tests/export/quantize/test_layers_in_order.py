"""Bias correction and AdaRound on layers whose results are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, fx, nn

from export.capture.graph import capture
from export.lower import lower
from export.quantize.adaround import round_adaptively
from export.quantize.bias_correction import correct_biases
from export.quantize.grid import Grid
from export.quantize.int8_reference import calibrate, convert, prepare
from export.quantize.layers_in_order import layers_in_order
from export.quantize.weight_only import store_weights, weight_grids


def lowered(network: nn.Module, example: Tensor) -> fx.GraphModule:
    return lower(capture(network.eval(), (example,)))


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def linear(weight: list[list[float]]) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data, layer.bias.data = torch.tensor(weight), torch.zeros(len(weight))
    return layer


@pytest.fixture
def prepared() -> fx.GraphModule:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.Hardswish(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 5)
    )
    torch.manual_seed(0)
    for layer in network:
        if hasattr(layer, "weight"):
            nn.init.normal_(layer.weight)
    graph = prepare(lowered(network, values(4, 3, 8, 8)))
    calibrate(graph, [(values(4, 3, 8, 8, seed=seed),) for seed in range(2)])
    return graph


def test_the_last_layer_gets_what_the_int8_reference_computes(prepared: fx.GraphModule) -> None:
    batch = values(4, 3, 8, 8)
    layers = list(layers_in_order(prepared, [(batch,)]))
    assert [list(layer.weight.shape) for layer in layers] == [[6, 3, 3, 3], [4, 6, 3, 3], [5, 64]]
    step = 2 * float(convert(prepared)(batch).abs().max()) / 255
    assert (layers[-1].given[0] - convert(prepared)(batch)).abs().mean() < step
    assert torch.allclose(layers[-1].wanted[0], prepared(batch), atol=1e-5)


def test_bias_correction_restores_the_mean_of_every_channel_exactly(prepared: fx.GraphModule) -> None:
    batches = [(values(4, 3, 8, 8, seed=seed),) for seed in range(2)]

    def shifts() -> list[float]:
        return [
            float(
                (torch.cat(layer.wanted) - torch.cat(layer.given))
                .movedim(layer.channels, 0)
                .flatten(1)
                .mean(1)
                .abs()
                .max()
            )
            for layer in layers_in_order(prepared, batches)
        ]

    before = [parameter.clone() for parameter in prepared.parameters()]
    uncorrected = shifts()
    floats = [layer.wanted for layer in layers_in_order(prepared, batches)]
    corrected = correct_biases(prepared, batches)
    assert corrected == 3
    changed = [not torch.equal(old, new) for old, new in zip(before, prepared.parameters(), strict=True)]
    assert sum(changed) == 3, "the biases alone"
    # Against the outputs of the network before, whose biases were others.
    for layer, wanted in zip(layers_in_order(prepared, batches), floats, strict=True):
        shift = (torch.cat(wanted) - torch.cat(layer.given)).movedim(layer.channels, 0).flatten(1).mean(1)
        assert float(shift.abs().max()) < 1e-5
    assert min(uncorrected) > 1e-4


def test_adaround_rounds_one_of_two_equal_inputs_up_where_the_nearest_rounds_both_down() -> None:
    # Both inputs are always equal: 0.45 x + 0.4 x is nearest to 1 x + 0 x, not to 0 x + 0 x.
    graph = lowered(linear([[0.45, 0.4], [0.55, 0.6]]), torch.ones(8, 2))
    (name,) = [name for name, parameter in graph.named_parameters() if parameter.dim() == 2]
    inputs = values(8, 1).expand(8, 2)
    grid = Grid(scale=torch.ones(2), limit=7)
    layers, improved = round_adaptively(graph, [(inputs,)], iterations=500, seed=0, grids={name: grid})
    weight = graph.get_parameter(name)
    assert (layers, improved) == (1, 1)
    assert weight.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_adaround_keeps_the_nearest_values_where_nothing_is_better() -> None:
    graph = lowered(linear([[1.0, 0.0], [0.0, 2.0]]), torch.ones(8, 2))
    (name,) = [name for name, parameter in graph.named_parameters() if parameter.dim() == 2]
    grids = {name: Grid(scale=torch.ones(2), limit=7)}
    assert round_adaptively(graph, [(values(8, 2),)], iterations=20, seed=0, grids=grids) == (1, 0)
    assert graph.get_parameter(name).tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_adaround_of_int8_keeps_its_values_in_the_reference(prepared: fx.GraphModule) -> None:
    batches = [(values(4, 3, 8, 8, seed=seed),) for seed in range(2)]
    layers, improved = round_adaptively(prepared, batches, iterations=100, seed=0)
    assert layers == 3 and improved >= 2
    integers = [
        tensor for name, tensor in convert(prepared).state_dict().items() if tensor.dtype is torch.int8
    ]
    for layer, stored in zip(layers_in_order(prepared, batches), integers, strict=True):
        assert torch.equal(layer.grid.rounded(layer.weight), layer.weight)
        scale = layer.grid.scale.reshape(-1, *[1] * (stored.dim() - 1))
        assert torch.allclose(stored * scale, layer.weight.detach(), atol=1e-6)


@pytest.mark.parametrize("group_size", [None, 10])
def test_rounded_w4_weights_are_stored_with_the_grid_that_they_were_rounded_to(group_size) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3))
    graph, inputs = lowered(network, torch.ones(16, 8)), values(16, 8)
    grids = weight_grids(graph, scheme="w4", group_size=group_size)
    assert [grid.bits for grid in grids.values()] == [8, 4, 8]
    assert [grid.has_groups for grid in grids.values()] == [False, group_size is not None, False]
    wanted = graph(inputs)
    nearest = (store_weights(graph, scheme="w4", group_size=group_size)(inputs) - wanted).square().mean()
    round_adaptively(graph, [(inputs,)], iterations=300, seed=0, grids=grids)
    stored = store_weights(graph, scheme="w4", grids=grids)
    assert torch.allclose(stored(inputs), graph(inputs), atol=1e-6)
    assert (stored(inputs) - wanted).square().mean() < 0.7 * nearest
