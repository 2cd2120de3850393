"""Keeps biases in range: backends store them as int32 in units of input scale x weight scale.

A channel with weights close to zero, such as one that a BatchNorm has switched off, has a tiny scale, in whose
units an ordinary bias does not fit. Its weights hardly matter: they are rounded to a scale in which the bias has 30
bits, which changes the output by less than a billionth of that bias for each weight.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed

_LAYERS = (aten.conv1d.default, aten.conv2d.default, aten.linear.default)
_LARGEST = 2.0**30


def keep_biases_in_range(reference: fx.GraphModule) -> None:
    """Increases the weight scale of int8 channels whose bias exceeds 2^30 in its own units."""
    for layer in list(reference.graph.nodes):
        if layer.target not in _LAYERS or len(layer.args) < 3 or layer.args[2] is None:
            continue
        source, read, bias = layer.args[:3]
        if (
            source.target is quantized.dequantize_per_tensor.default
            and read.target is quantized.dequantize_per_channel.default
            and bias.op == "get_attr"
        ):
            _widen(reference, layer, _constant(reference, bias), input_scale=source.args[1])
    reference.graph.eliminate_dead_code()


def _widen(reference: fx.GraphModule, layer: fx.Node, bias: Tensor, *, input_scale: float) -> None:
    read: Any = layer.args[1]
    numbers, scale = (_constant(reference, node) for node in read.args[:2])
    needed = bias.detach().double().abs() / (_LARGEST * input_scale)
    if not bool((scale < needed).any()):
        return
    wider = torch.maximum(scale.double(), needed)
    ratio = (scale.double() / wider).reshape(-1, *[1] * (numbers.dim() - 1))
    parts = {"int8": (numbers.double() * ratio).round().to(numbers.dtype), "scale": wider.to(scale.dtype)}
    own = []
    # Separate buffers: another layer may share the weights, with another bias.
    for (suffix, tensor), before in zip(parts.items(), read.args[:2], strict=True):
        name = f"{layer.name}_{suffix}_with_room"
        reference.register_buffer(name, tensor)
        with reference.graph.inserting_before(read):
            own.append(reference.graph.get_attr(name))
        own[-1].meta = dict(before.meta)
    with reference.graph.inserting_before(layer):
        again = reference.graph.call_function(read.target, (*own, *read.args[2:]), read.kwargs)
    again.meta = dict(read.meta)
    layer.replace_input_with(read, again)


def _constant(graph: fx.GraphModule, node: fx.Node) -> Tensor:
    return operator.attrgetter(str(node.target))(graph)
