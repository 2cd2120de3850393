"""Bias correction: what rounding adds to the mean of each output channel is taken off that channel's bias.

Rounding weights and inputs shifts the mean of a layer's output, most in layers with few weights per channel. The
shift is measured on calibration clips, layer by layer, each fed with what the float network feeds it (Nagel et al.,
arXiv:1906.04721, section 4.2; measured instead of computed as in their appendix D. NNCF's fast bias correction
measures it on the mean of the inputs).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from export.quantizer import WEIGHTED

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed

_READ_VALUE = quantized.dequantize_per_tensor.default
_READ_WEIGHT = quantized.dequantize_per_channel.default


def correct_biases(
    lowered: fx.GraphModule, reference: fx.GraphModule, batches: Iterable[tuple[Tensor, ...]]
) -> fx.GraphModule:
    """A copy of the int8 `reference` whose layers have the float layers' mean outputs, channel by channel.

    `lowered` is the float graph that the reference was prepared from, `batches` are inputs of the size that both
    take. Layers without a bias stay as they are. Raises ValueError when there is no batch.
    """
    corrected = copy.deepcopy(reference)
    examples = tuple(
        torch.zeros(node.meta["val"].shape, dtype=node.meta["val"].dtype)
        for node in lowered.graph.nodes
        if node.op == "placeholder"
    )
    # Captured as `prepare` captures it, which is what gives both graphs the same names.
    floating = torch.export.export(lowered, examples).module(check_guards=False)
    measurement = _Measurement(floating, corrected)
    with torch.no_grad():
        for batch in batches:
            measurement.run(*batch)
        if not measurement.batches:
            raise ValueError("there is no input to correct the biases by; give at least one batch")
        for name, shift in measurement.shifts.items():
            _attribute(corrected, name).sub_((shift / measurement.batches).float())
    return corrected


class _Measurement(fx.Interpreter):
    """Runs the float graph; beside each layer the int8 one, on the same inputs."""

    def __init__(self, floating: Any, reference: fx.GraphModule) -> None:
        super().__init__(floating)
        self.reference = reference
        self.layers = {node.name: node for node in reference.graph.nodes if _can_be_corrected(node)}
        self.shifts: dict[str, Tensor] = {}
        """Bias -> how far the int8 layer's mean output lies above the float layer's, summed over batches."""
        self.batches = 0

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """One batch."""
        self.batches += 1
        return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:
        """The node's value in the float graph."""
        value = super().run_node(n)
        layer: Any = self.layers.get(n.name)
        if layer is not None and layer.target is n.target:
            given: Any = self.fetch_args_kwargs_from_env(n)[0]
            numbers = _rounded(given[0], layer.args[0])
            weights = (_constant(self.reference, a) for a in layer.args[1].args)
            bias = _constant(self.reference, layer.args[2])
            output = n.target(numbers, _READ_WEIGHT(*weights), bias, *given[3:])  # type: ignore[operator]
            name = str(layer.args[2].target)
            shift = _channel_means(output - value, layer)
            self.shifts[name] = self.shifts.get(name, torch.zeros_like(shift)) + shift
        return value


def _can_be_corrected(node: fx.Node) -> bool:
    if node.target not in WEIGHTED or len(node.args) < 3 or not isinstance(node.args[2], fx.Node):
        return False
    source, weight, bias = node.args[:3]
    return (
        bias.op == "get_attr" and source.target is _READ_VALUE and weight.target is _READ_WEIGHT  # type: ignore[union-attr]
    )


def _rounded(value: Tensor, read: Any) -> Tensor:
    """`value` as the reference's layer reads it."""
    _, scale, zero_point, low, high, _ = read.args
    steps = (value / scale).round() + zero_point
    return (steps.clamp(low, high) - zero_point) * scale


def _channel_means(difference: Tensor, layer: fx.Node) -> Tensor:
    channels = -1 if layer.target is aten.linear.default else 1
    return difference.double().movedim(channels, 0).flatten(1).mean(1)


def _constant(module: fx.GraphModule, value: Any) -> Any:
    return _attribute(module, str(value.target)) if isinstance(value, fx.Node) else value


def _attribute(module: fx.GraphModule, name: str) -> Tensor:
    owner, _, last = name.rpartition(".")
    return getattr(module.get_submodule(owner), last)
