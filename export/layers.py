"""Which layers lose most in int8: every quantized value of the torch int8 reference against the float graph.

This explains the quantization, whatever a file does: the files realise the reference, they are not looked at here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, fx

from export.lower.source import operator_name, place
from export.parity import SQNR_LIMIT_DB
from export.quantizer import CLAMPS, PASSES_ON

quantized = torch.ops.quantized_decomposed

_QUANTIZE = quantized.quantize_per_tensor.default
_ROUNDING = (_QUANTIZE, quantized.dequantize_per_tensor.default)


@dataclass(frozen=True, kw_only=True)
class LayerError:
    """How much noise int8 has put on the output of one layer."""

    node: str
    """Its name in the graph of the reference."""
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def rank_layers(
    lowered: fx.GraphModule, reference: fx.GraphModule, batches: Iterable[tuple[Tensor, ...]]
) -> tuple[LayerError, ...]:
    """The layers of `reference`, worst first; `lowered` is the float graph that it was prepared from.

    `batches` are inputs of the size that both graphs take. Raises ValueError when there are none, and when the two
    are not graphs of one network.
    """
    examples = tuple(
        torch.zeros(node.meta["val"].shape, dtype=node.meta["val"].dtype)
        for node in lowered.graph.nodes
        if node.op == "placeholder"
    )
    # Captured as `prepare` captures it, which is what gives both graphs the same names.
    floating = torch.export.export(lowered, examples).module(check_guards=False)
    comparison = _Comparison(reference, _pairs(floating, reference))
    seen = False
    with torch.no_grad():
        for batch in batches:
            seen = True
            floats = _Recorder(floating)
            floats.run(*batch)
            comparison.floats = floats.values
            comparison.run(*batch)
    if not seen:
        raise ValueError("there is no input to rank the layers by; give at least one batch")
    errors = [_error(layer, *powers.tolist()) for layer, powers in comparison.powers.items()]
    return tuple(sorted(errors, key=lambda error: error.sqnr_db))


def _pairs(floating: fx.GraphModule, reference: fx.GraphModule) -> dict[fx.Node, str]:
    """Each layer of the reference, and the float graph's node that its rounded output stands for."""
    by_name = {node.name: node for node in floating.graph.nodes}
    pairs = {}
    for node in reference.graph.nodes:
        rounded = any(user.target is _QUANTIZE for user in node.users)
        if node.op != "call_function" or node.target in _ROUNDING or node.meta.get(PASSES_ON) or not rounded:
            continue
        twin = by_name.get(node.name)
        if twin is None or twin.target is not node.target:
            raise ValueError(
                f"the reference has a layer {node.name!r} ({operator_name(node)}) that the float graph has not; "
                "give the graph that the reference was prepared from"
            )
        reader = next(iter(twin.users))
        # A clamp that its quantization implies is left out of the reference.
        clamped = len(twin.users) == 1 and reader.target in CLAMPS and reader.name not in _names(reference)
        pairs[node] = reader.name if clamped else twin.name
    return pairs


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


def _rounded(layer: fx.Node, output: Tensor) -> Tensor:
    """The output of `layer` as its first quantization leaves it, in float."""
    quantize: Any = next(user for user in layer.users if user.target is _QUANTIZE)
    rounding = quantize.args[1:]
    return quantized.dequantize_per_tensor(quantized.quantize_per_tensor(output, *rounding), *rounding)


def _error(layer: fx.Node, signal: float, noise: float, own_noise: float) -> LayerError:
    modules = list((layer.meta.get("nn_module_stack") or {}).values())
    return LayerError(
        node=layer.name,
        operator=operator_name(layer),
        module=modules[-1][0] if modules else "",
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
