"""AdaRound: learns for every weight whether it is rounded up or down, so that outputs of the layer stay the same.

Source: Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization": rectified sigmoid with
zeta 1.1 and gamma -0.1, annealed regularization with weight 0.01, asymmetric reconstruction. Outputs are compared
before the activation function, which int8 fuses by its range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, fx

from export.quantize.grid import Grid
from export.quantize.layers_in_order import Layer, layers_in_order

_ZETA, _GAMMA = 1.1, -0.1
"""Limits to which the sigmoid is stretched."""

_REGULARIZATION = 0.01
_WARM_UP = 0.2
"""Share of the iterations without regularization."""

_BETA = (20.0, 2.0)
"""Exponent of the regularization at its start and at the end."""

_LEARNING_RATE = 1e-2


def round_adaptively(
    graph: fx.GraphModule,
    batches: Iterable[tuple[Tensor, ...]],
    *,
    iterations: int,
    seed: int,
    grids: Mapping[str, Grid] | None = None,
    report: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Replaces every weight by a value of its grid; returns the number of layers, and how many of them improved.

    A layer for which learning finds nothing better keeps the nearest values. Arguments are those of
    `layers_in_order`; `report(n)` is called after `n` layers.
    """
    layers = improved = 0
    for layer in layers_in_order(graph, batches, grids=grids):
        generator = torch.Generator().manual_seed(seed + layers)
        nearest = layer.grid.rounded(layer.weight.detach())
        learned = _learned(layer, iterations=iterations, generator=generator)
        better = _error(layer, learned) < _error(layer, nearest)
        layer.weight.data.copy_(learned if better else nearest)
        layers, improved = layers + 1, improved + better
        if report is not None:
            report(layers)
    return layers, improved


def _error(layer: Layer, weight: Tensor) -> float:
    """Squared error of the outputs with this weight."""
    bias = None if layer.bias is None else layer.bias.detach()
    pairs = zip(layer.inputs, layer.wanted, strict=True)
    return sum(float((layer.compute(x, weight, bias) - wanted).square().mean()) for x, wanted in pairs)


@torch.enable_grad()
def _learned(layer: Layer, *, iterations: int, generator: torch.Generator) -> Tensor:
    """The weight in values of its grid, each rounded up or down as the outputs require."""
    weight = layer.weight.detach()
    scale = layer.grid.steps(weight)
    steps = weight / scale
    down = steps.floor()
    start = (steps - down - _GAMMA) / (_ZETA - _GAMMA)
    free = (start / (1 - start)).log().requires_grad_()
    bias = None if layer.bias is None else layer.bias.detach()
    optimizer = torch.optim.Adam([free], lr=_LEARNING_RATE)

    def soft() -> Tensor:
        return (free.sigmoid() * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1)

    def on_grid(up: Tensor) -> Tensor:
        return (down + up).clamp(-layer.grid.limit, layer.grid.limit) * scale

    for iteration in range(iterations):
        batch = int(torch.randint(len(layer.inputs), (), generator=generator))
        up = soft()
        given = layer.compute(layer.inputs[batch], on_grid(up), bias)
        # The sum over channels, as in the paper: its regularization has this scale.
        loss = (given - layer.wanted[batch]).square().sum(layer.channels).mean()
        progress = (iteration / iterations - _WARM_UP) / (1 - _WARM_UP)
        if progress > 0:
            beta = _BETA[0] + (_BETA[1] - _BETA[0]) * progress
            loss = loss + _REGULARIZATION * (1 - (2 * up - 1).abs().pow(beta)).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return on_grid((soft() >= 0.5).to(steps.dtype)).detach()
