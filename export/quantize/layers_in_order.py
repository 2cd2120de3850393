"""The layers of a graph in order, each with its inputs and outputs in float and with everything before it rounded.

    for layer in layers_in_order(prepared, batches):
        layer.bias += (layer.wanted - layer.given).mean(...)

Bias correction and AdaRound change one layer after the other: what a layer gets includes the changes before it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from export.quantize.grid import Grid
from export.quantize.weight_only import LAYERS

_Values = list[Any]
"""The value of a node for every batch."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution or linear layer with trainable weights that are rounded."""

    name: str
    weight: nn.Parameter
    bias: nn.Parameter | None
    grid: Grid
    """Scale and limit of the integers of the weight."""
    inputs: tuple[Tensor, ...]
    """Its input for every batch, rounded as in the quantized network."""
    wanted: tuple[Tensor, ...]
    """Its output for every batch in the float network."""
    channels: int
    """The axis of the output channels in `wanted`."""
    compute: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    """The layer as a function of input, weight and bias."""

    @property
    def given(self) -> tuple[Tensor, ...]:
        """Its output for every batch in the quantized network, before it is rounded."""
        weight = self.grid.rounded(self.weight.detach())
        bias = None if self.bias is None else self.bias.detach()
        return tuple(self.compute(x, weight, bias) for x in self.inputs)


@torch.no_grad()
def layers_in_order(
    graph: fx.GraphModule,
    batches: Iterable[tuple[Tensor, ...]],
    *,
    grids: Mapping[str, Grid] | None = None,
) -> Iterator[Layer]:
    """Yields every layer whose weights are rounded; weights and biases may be changed in place before the next.

    `graph` is a calibrated graph of `int8_reference.prepare`, or with `grids`, the grids of weights by name, a
    lowered float graph. All batches are computed together, so memory grows with their number.
    """
    inputs = list(zip(*batches, strict=True))
    count = len(inputs[0])
    floats: dict[fx.Node, _Values] = {}
    rounded: dict[fx.Node, _Values] = {}
    readers = {node: len(node.users) for node in graph.graph.nodes}
    rounding: dict[str, Callable[[Tensor], Tensor]] = {}
    supplied = iter(inputs)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            floats[node] = rounded[node] = list(next(supplied))
        elif node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(graph)
            # A copy: the float network keeps the weights that the visitor changes.
            kept = value.detach().clone() if isinstance(value, Tensor) else value
            floats[node] = rounded[node] = [kept] * count
        elif node.op == "call_module":
            if node.target not in rounding:
                rounding[node.target] = _rounding(getattr(graph, str(node.target)))
            (source,) = node.args
            floats[node] = floats[source]
            if source.op == "get_attr":
                rounded[node] = [rounding[node.target](rounded[source][0])] * count
            else:
                rounded[node] = [rounding[node.target](value) for value in rounded[source]]
        elif node.op == "call_function":
            floats[node] = [_call(node, floats, k) for k in range(count)]
            layer = _layer(graph, node, floats, rounded, grids or {})
            if layer is None:
                rounded[node] = [_call(node, rounded, k) for k in range(count)]
            else:
                yield layer
                rounded[node] = list(layer.given)
        for source in node.all_input_nodes:
            readers[source] -= 1
            if not readers[source]:
                del floats[source], rounded[source]


def _call(node: fx.Node, values: Mapping[fx.Node, _Values], batch: int) -> Any:
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: values[source][batch])
    target: Any = node.target
    return target(*args, **kwargs)


def _layer(
    graph: fx.GraphModule,
    node: fx.Node,
    floats: Mapping[fx.Node, _Values],
    rounded: Mapping[fx.Node, _Values],
    grids: Mapping[str, Grid],
) -> Layer | None:
    """The layer `node`; None for other operators, and for layers whose weights are constant or float."""
    if node.target not in LAYERS:
        return None
    source, read = node.args[:2]
    assert isinstance(source, fx.Node) and isinstance(read, fx.Node)
    observed = read.op == "call_module"
    stored: Any = read.args[0] if observed else read
    weight = _parameter(graph, stored)
    grid = _grid(getattr(graph, str(read.target))) if observed else grids.get(str(stored.target))
    if weight is None or grid is None:
        return None
    bias = _parameter(graph, node.args[2]) if len(node.args) > 2 else None
    rest, options, target = node.args[3:], node.kwargs, node.target

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        result: Tensor = target(x, weight, bias, *rest, **options)  # type: ignore[operator]
        return result

    return Layer(
        name=node.name,
        weight=weight,
        bias=bias,
        grid=grid,
        inputs=tuple(rounded[source]),
        wanted=tuple(floats[node]),
        channels=-1 if target is torch.ops.aten.linear.default else 1,
        compute=compute,
    )


def _parameter(graph: fx.GraphModule, node: Any) -> nn.Parameter | None:
    if not isinstance(node, fx.Node) or node.op != "get_attr":
        return None
    found = operator.attrgetter(str(node.target))(graph)
    return found if isinstance(found, nn.Parameter) else None


def _grid(observer: nn.Module) -> Grid:
    scale, _ = observer.calculate_qparams()  # type: ignore[operator]
    return Grid(scale=scale, limit=int(observer.quant_max))  # type: ignore[arg-type]


def _rounding(observer: nn.Module) -> Callable[[Tensor], Tensor]:
    """What the observed value is in int8."""
    scale, zero_point = observer.calculate_qparams()  # type: ignore[operator]
    low, high = int(observer.quant_min), int(observer.quant_max)  # type: ignore[arg-type]
    if scale.numel() > 1 or hasattr(observer, "ch_axis"):
        return Grid(scale=scale, limit=high).rounded
    return lambda value: torch.fake_quantize_per_tensor_affine(
        value, float(scale), int(zero_point), low, high
    )
