"""Ranks layers by their quantization cost: every quantized value of the torch int8 reference against the float
graph.

This explains the quantization, not a file: files implement the reference and are not used here. The noise on a
layer's output does not determine its cost: the sum of a block may drown it, later layers may amplify it. So the
float network is also run with one layer alone in int8: its weights and its output are rounded, its inputs are not.
"""

from __future__ import annotations

import math
import time
from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx

from export.lower.source import operator_name, place
from export.quantize.layers import module_of, name_of
from export.quantize.quantizer import CLAMPS, KEEPS_VALUES, PASSES_ON
from export.verify.parity import SQNR_LIMIT_DB

quantized = torch.ops.quantized_decomposed

_QUANTIZE = quantized.quantize_per_tensor.default
_ROUNDING = (_QUANTIZE, quantized.dequantize_per_tensor.default)

ALONE_LIMIT_S = 120.0
"""Time limit for trying single layers, each of which takes half a run of the network per input."""


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """The quantization noise on the output of one layer."""

    node: str
    """Its name in the graph of the reference."""
    layer: str
    """The user's name for it: a module, or an operator in the `forward` of one."""
    operator: str
    module: str
    """Path of the module in the user's network, such as `blocks.3.depthwise`; empty outside of any."""
    place: str
    """File, line and text of the user's source."""
    sqnr_db: float
    """SQNR of its output, with the accumulated noise of all layers up to here."""
    own_sqnr_db: float
    """SQNR of its output if the layer gets the inputs of the float network: the noise from rounding its inputs,
    weights and output."""
    alone_sqnr_db: float | None = None
    """SQNR of the network's outputs if only this layer is int8, in its weights and output: its cost. All nodes that
    lowering made of one layer are tried together. `None` if the time limit was reached (`ALONE_LIMIT_S`)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def rank_layers(
    lowered: fx.GraphModule, reference: fx.GraphModule, batches: Iterable[tuple[Tensor, ...]]
) -> tuple[LayerError, ...]:
    """The layers of `reference`, those that cost the network's outputs most first.

    `lowered` is the float graph that it was prepared from; `batches` are inputs of the batch size of both graphs.
    Raises ValueError if there are none, and if the two are not graphs of one network.
    """
    examples = tuple(
        torch.zeros(node.meta["val"].shape, dtype=node.meta["val"].dtype)
        for node in lowered.graph.nodes
        if node.op == "placeholder"
    )
    # Captured as in `prepare`, which gives both graphs the same names.
    floating = torch.export.export(lowered, examples).module(check_guards=False)
    pairs = _pairs(floating, reference)
    comparison = _Comparison(reference, pairs)
    given = list(batches)
    if not given:
        raise ValueError("there is no input to rank the layers by; give at least one batch")
    with torch.no_grad():
        for batch in given:
            comparison.floats = _recorded(floating, batch)
            comparison.run(*batch)
    errors = {layer: _error(layer, *powers.tolist()) for layer, powers in comparison.powers.items()}
    groups = _groups(errors)
    costs = _costs(_Alone(floating, reference, pairs), groups, given)
    for layers, cost in zip(groups, costs, strict=False):
        errors |= {layer: replace(errors[layer], alone_sqnr_db=cost) for layer in layers}
    return tuple(sorted(errors.values(), key=_order))


def _order(error: LayerError) -> tuple[float, float]:
    return (math.inf if error.alone_sqnr_db is None else error.alone_sqnr_db, error.own_sqnr_db)


def _groups(errors: Mapping[fx.Node, LayerError]) -> list[list[fx.Node]]:
    """The nodes that lowering made of each of the user's layers; layers with the most noise of their own first."""
    groups: dict[tuple[str, str], list[fx.Node]] = {}
    for layer, error in sorted(errors.items(), key=lambda item: item[1].own_sqnr_db):
        groups.setdefault((error.layer, error.place), []).append(layer)
    return list(groups.values())


def _costs(
    alone: _Alone, groups: Sequence[Sequence[fx.Node]], batches: Sequence[tuple[Tensor, ...]]
) -> list[float]:
    """Lowest SQNR of any output for each group alone, on as many inputs as the time limit allows.

    If it does not suffice for one input, for the first groups only.
    """
    if not alone.outputs:
        return []
    began_s, powers, tried = time.monotonic(), torch.zeros(()), len(groups)
    for number, batch in enumerate(batches, start=1):
        of_batch: list[Tensor] = []
        with torch.no_grad():
            values = _recorded(alone.floating, batch)
            for layers in groups[:tried]:
                if number == 1 and time.monotonic() - began_s > ALONE_LIMIT_S:
                    break
                of_batch.append(alone.powers(layers, values))
        if not of_batch:
            return []
        powers, tried = powers + torch.stack(of_batch), len(of_batch)
        if (time.monotonic() - began_s) * (number + 1) / number > ALONE_LIMIT_S:
            break
    return [min((_sqnr_db(*one) for one in each), default=SQNR_LIMIT_DB) for each in powers.tolist()]


def _recorded(floating: fx.GraphModule, batch: tuple[Tensor, ...]) -> dict[str, Any]:
    """Every value of the float graph for one batch."""
    recorder = _Recorder(floating)
    recorder.run(*batch)
    return recorder.values


def _pairs(floating: fx.GraphModule, reference: fx.GraphModule) -> dict[fx.Node, str]:
    """Each layer of the reference, and the float graph's node that matches its rounded output."""
    by_name = {node.name: node for node in floating.graph.nodes}
    pairs = {}
    for node in reference.graph.nodes:
        rounded = any(user.target is _QUANTIZE for user in node.users)
        if node.op != "call_function" or node.target in _ROUNDING or _passes_on(node) or not rounded:
            continue
        twin = by_name.get(node.name)
        if twin is None or twin.target is not node.target or _shape(twin) != _shape(node):
            raise ValueError(
                f"the reference has a layer {node.name!r} ({operator_name(node)}) that is not in the float graph; "
                "give the graph that the reference was prepared from"
            )
        pairs[node] = node.name
    return pairs | _clamped(floating, reference, pairs)


def _passes_on(node: fx.Node) -> bool:
    """Whether a node passes on int8 inputs; a loaded reference has lost this annotation."""
    if node.meta.get(PASSES_ON):
        return True
    rounded = [user.args[1:] for user in node.users if user.target is _QUANTIZE]
    return (
        (node.target in KEEPS_VALUES or node.target is torch.ops.aten.cat.default)
        and bool(rounded)
        and all(
            source.target in _ROUNDING and source.args[1:] == rounded[0] for source in node.all_input_nodes
        )
    )


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _clamped(
    floating: fx.GraphModule, reference: fx.GraphModule, among: Iterable[fx.Node]
) -> dict[fx.Node, str]:
    """Nodes of the reference whose clamp was omitted because their quantization implies it -> that clamp."""
    left = _names(reference)
    twins = {node.name: list(node.users) for node in floating.graph.nodes}
    return {
        node: readers[0].name
        for node in among
        if len(readers := twins.get(node.name, [])) == 1
        and readers[0].target in CLAMPS
        and readers[0].name not in left
    }


def _names(graph: fx.GraphModule) -> set[str]:
    return {node.name for node in graph.graph.nodes}


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps every value by name: the activations of one batch, all at once."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.values: dict[str, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The node's value, which is recorded."""
        value = self.values[n.name] = super().run_node(n)
        return value


class _Comparison(fx.Interpreter):
    """Runs the reference and compares each layer when its output is available."""

    def __init__(self, reference: fx.GraphModule, pairs: Mapping[fx.Node, str]) -> None:
        super().__init__(reference)
        self.pairs = pairs
        self.floats: Mapping[str, Any] = {}
        """Values of the float graph for the same inputs."""
        self.powers = {layer: torch.zeros(3, dtype=torch.float64) for layer in pairs}
        """Sums of squares: the signal, the noise on it, the layer's own noise."""

    def run_node(self, n: fx.Node) -> Any:
        """The node's value; its noise is accumulated."""
        value = super().run_node(n)
        if n in self.pairs:
            signal = self.floats[self.pairs[n]].double()
            arguments: Any = fx.map_arg((n.args, n.kwargs), self._from_floats)
            own = n.target(*arguments[0], **arguments[1])  # type: ignore[operator]
            noises = [_rounded(n, output).double() - signal for output in (value, own)]
            self.powers[n] += torch.stack([power.square().sum() for power in (signal, *noises)])
        return value

    def _from_floats(self, node: fx.Node) -> Any:
        """The float graph's value of `node`, rounded as in the reference; weights are those of the reference."""
        if node.op == "get_attr":
            return self.fetch_attr(str(node.target))
        if node.target in _ROUNDING:
            arguments: Any = node.args
            return node.target(self._from_floats(arguments[0]), *arguments[1:])  # type: ignore[operator]
        return self.floats[node.name] if node.name in self.floats else self.env[node]


class _Alone:
    """Runs the float graph with some layers as in the reference, from the first of them on."""

    def __init__(
        self, floating: fx.GraphModule, reference: fx.GraphModule, pairs: Mapping[fx.Node, str]
    ) -> None:
        self.floating, self.reference, self.pairs = floating, reference, pairs
        self.clamped = _clamped(floating, reference, reference.graph.nodes)
        self.outputs = [
            node
            for node in floating.graph.output_node().all_input_nodes
            if _is_floating(node.meta.get("val"))
        ]
        self.computed: set[fx.Node] = set()
        """Nodes that depend on a layer. Each layer includes the rounding of its output; its consumers round other
        inputs."""
        for node in reference.graph.nodes:
            if node in pairs or not self.computed.isdisjoint(node.all_input_nodes):
                self.computed.add(node)

    def powers(self, layers: Sequence[fx.Node], floats: Mapping[str, Any]) -> Tensor:
        """Sums of squares for each output: the signal, and the noise of `layers`; `floats` is without noise."""
        changed: dict[str, Any] = {}
        values = ChainMap(changed, dict(floats))
        realised = {self.pairs[layer]: layer for layer in layers}
        for node in self.floating.graph.nodes:
            layer = realised.get(node.name)
            if layer is not None:
                changed[node.name] = _rounded(layer, self._run(layer, values))
            elif node.op == "call_function" and any(one.name in changed for one in node.all_input_nodes):
                arguments: Any = fx.map_arg((node.args, node.kwargs), lambda one: values[one.name])
                changed[node.name] = node.target(*arguments[0], **arguments[1])
        return torch.stack(
            [_powers(floats[node.name], values[node.name] - floats[node.name]) for node in self.outputs]
        )

    def _run(self, node: fx.Node, values: Mapping[str, Any]) -> Any:
        """The result of the reference's operator on values of the float graph."""
        arguments: Any = fx.map_arg((node.args, node.kwargs), lambda one: self._value(one, values))
        return node.target(*arguments[0], **arguments[1])  # type: ignore[operator]

    def _value(self, node: fx.Node, values: Mapping[str, Any]) -> Any:
        if node.op == "get_attr":
            return attrgetter(str(node.target))(self.reference)
        if node.target in _ROUNDING and node in self.computed:
            return self._value(node.all_input_nodes[0], values)
        name = self.clamped.get(node, node.name)
        return values[name] if name in values else self._run(node, values)


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _powers(*values: Tensor) -> Tensor:
    return torch.stack([value.double().square().sum() for value in values])


def _rounded(layer: fx.Node, output: Tensor) -> Tensor:
    """The output of `layer` after its first quantization, in float."""
    quantize: Any = next(user for user in layer.users if user.target is _QUANTIZE)
    rounding = quantize.args[1:]
    return quantized.dequantize_per_tensor(quantized.quantize_per_tensor(output, *rounding), *rounding)


def _error(layer: fx.Node, signal: float, noise: float, own_noise: float) -> LayerError:
    return LayerError(
        node=layer.name,
        layer=name_of(layer),
        operator=operator_name(layer),
        module=module_of(layer)[0],
        place=place(layer),
        sqnr_db=_sqnr_db(signal, noise),
        own_sqnr_db=_sqnr_db(signal, own_noise),
    )


def _sqnr_db(signal: float, noise: float) -> float:
    if not noise:
        return SQNR_LIMIT_DB
    return (
        max(-SQNR_LIMIT_DB, min(SQNR_LIMIT_DB, 10 * math.log10(signal / noise))) if signal else -SQNR_LIMIT_DB
    )
