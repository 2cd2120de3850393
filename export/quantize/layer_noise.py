"""Which layers lose most in int8: every quantized value of the torch int8 reference against the float graph.

This explains the quantization, whatever a file does: the files realise the reference, they are not looked at here.
Noise on a layer's output says little about what it costs: a block's sum may drown it, later layers may amplify it.
So the float network is run again with one layer alone in int8: its weights and its output are rounded, what other
layers hand to it is not.
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
from export.quantize.quantizer import CLAMPS, KEEPS_VALUES, PASSES_ON
from export.verify.parity import SQNR_LIMIT_DB

quantized = torch.ops.quantized_decomposed

_QUANTIZE = quantized.quantize_per_tensor.default
_ROUNDING = (_QUANTIZE, quantized.dequantize_per_tensor.default)

_WEIGHTED = ("conv2d", "conv_transpose2d", "linear")
"""Operators that are named by the module that they are in, whoever wrote it."""

ALONE_LIMIT_S = 120.0
"""How long layers are tried alone, each of which takes half a run of the network per input."""


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """How much noise int8 has put on the output of one layer."""

    node: str
    """Its name in the graph of the reference."""
    layer: str
    """What the user calls it: a module, or an operator in the `forward` of one."""
    operator: str
    module: str
    """Path of the module in the user's network, such as `blocks.3.depthwise`; empty outside of any."""
    place: str
    """File, line and text of the user's source."""
    sqnr_db: float
    """Of its output: the noise that has gathered from the inputs of the network to here."""
    own_sqnr_db: float
    """The same when the layer is fed what the float network feeds it: what this layer adds by rounding its inputs,
    weights and output."""
    alone_sqnr_db: float | None = None
    """Of the network's outputs when this layer alone is int8, by its weights and output: what it costs. What
    lowering made of one layer is tried together. `None` where there was no time for it (`ALONE_LIMIT_S`)."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def rank_layers(
    lowered: fx.GraphModule, reference: fx.GraphModule, batches: Iterable[tuple[Tensor, ...]]
) -> tuple[LayerError, ...]:
    """The layers of `reference`, those first that cost the network's outputs most.

    `lowered` is the float graph that it was prepared from; `batches` are inputs of the size that both graphs take.
    Raises ValueError when there are none, and when the two are not graphs of one network.
    """
    examples = tuple(
        torch.zeros(node.meta["val"].shape, dtype=node.meta["val"].dtype)
        for node in lowered.graph.nodes
        if node.op == "placeholder"
    )
    # Captured as `prepare` captures it, which is what gives both graphs the same names.
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
    """What lowering made of each layer of the user's; layers with the most noise of their own come first."""
    groups: dict[tuple[str, str], list[fx.Node]] = {}
    for layer, error in sorted(errors.items(), key=lambda item: item[1].own_sqnr_db):
        groups.setdefault((error.layer, error.place), []).append(layer)
    return list(groups.values())


def _costs(
    alone: _Alone, groups: Sequence[Sequence[fx.Node]], batches: Sequence[tuple[Tensor, ...]]
) -> list[float]:
    """The SQNR of the output that each group alone costs most, on as many inputs as there is time for.

    Where it does not suffice for one input, of the first groups only.
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
    """Each layer of the reference, and the float graph's node that its rounded output stands for."""
    by_name = {node.name: node for node in floating.graph.nodes}
    pairs = {}
    for node in reference.graph.nodes:
        rounded = any(user.target is _QUANTIZE for user in node.users)
        if node.op != "call_function" or node.target in _ROUNDING or _passes_on(node) or not rounded:
            continue
        twin = by_name.get(node.name)
        if twin is None or twin.target is not node.target or _shape(twin) != _shape(node):
            raise ValueError(
                f"the reference has a layer {node.name!r} ({operator_name(node)}) that the float graph has not; "
                "give the graph that the reference was prepared from"
            )
        pairs[node] = node.name
    return pairs | _clamped(floating, reference, pairs)


def _passes_on(node: fx.Node) -> bool:
    """Whether a node hands on int8 values that it reads; a reference that was saved does not say so any more."""
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
    """Nodes of the reference whose clamp it leaves out, since their quantization implies it, and that clamp."""
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
        """The node's value, which is kept."""
        value = self.values[n.name] = super().run_node(n)
        return value


class _Comparison(fx.Interpreter):
    """Runs the reference and compares each layer when it is reached."""

    def __init__(self, reference: fx.GraphModule, pairs: Mapping[fx.Node, str]) -> None:
        super().__init__(reference)
        self.pairs = pairs
        self.floats: Mapping[str, Any] = {}
        """Values of the float graph for the same inputs."""
        self.powers = {layer: torch.zeros(3, dtype=torch.float64) for layer in pairs}
        """Sums of squares: the signal, the noise on it, the layer's own noise."""

    def run_node(self, n: fx.Node) -> Any:
        """The node's value; what it says of a layer is added up."""
        value = super().run_node(n)
        if n in self.pairs:
            signal = self.floats[self.pairs[n]].double()
            arguments: Any = fx.map_arg((n.args, n.kwargs), self._from_floats)
            own = n.target(*arguments[0], **arguments[1])  # type: ignore[operator]
            noises = [_rounded(n, output).double() - signal for output in (value, own)]
            self.powers[n] += torch.stack([power.square().sum() for power in (signal, *noises)])
        return value

    def _from_floats(self, node: fx.Node) -> Any:
        """The float graph's value of `node`, rounded as the reference rounds it; weights are the reference's."""
        if node.op == "get_attr":
            return self.fetch_attr(str(node.target))
        if node.target in _ROUNDING:
            arguments: Any = node.args
            return node.target(self._from_floats(arguments[0]), *arguments[1:])  # type: ignore[operator]
        return self.floats[node.name] if node.name in self.floats else self.env[node]


class _Alone:
    """Runs the float graph with some layers as the reference has them, from the first of them on."""

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
        """What depends on a layer, which answers for the noise of its output; who reads others rounds them."""
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
        """What the operator of the reference gives to values of the float graph."""
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
    """The output of `layer` as its first quantization leaves it, in float."""
    quantize: Any = next(user for user in layer.users if user.target is _QUANTIZE)
    rounding = quantize.args[1:]
    return quantized.dequantize_per_tensor(quantized.quantize_per_tensor(output, *rounding), *rounding)


def _error(layer: fx.Node, signal: float, noise: float, own_noise: float) -> LayerError:
    modules = list((layer.meta.get("nn_module_stack") or {}).values())
    module, kind = modules[-1] if modules else ("", "")
    operator = operator_name(layer)
    whole = operator in _WEIGHTED or str(kind).startswith("torch.nn.")
    return LayerError(
        node=layer.name,
        layer=(module if whole else f"{operator} in {module}") if module else operator,
        operator=operator,
        module=module,
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
