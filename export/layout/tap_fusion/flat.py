"""Flattens linear layers over tokens: ONNX Runtime's integer kernel takes matrices only, with two axes."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import fx

from export.layout.stream_order.rounding import DEQUANTIZE, QUANTIZE, READ_WEIGHT
from export.lower.source import shape

aten = torch.ops.aten


def flatten_linear_layers(graph: fx.Graph) -> None:
    """Makes linear layers on int8 values of more than two axes take and return matrices.

    Values are reshaped as int8, outside of each quantize and dequantize, so these stay next to the layer.
    """
    for node in list(graph.nodes):
        if _is_over_tokens(node):
            _flatten(graph, node)


def _is_over_tokens(node: fx.Node) -> bool:
    if node.target is not aten.linear.default:
        return False
    source, weight = node.all_input_nodes[:2]
    return source.target is DEQUANTIZE and weight.target is READ_WEIGHT and len(shape(source)) > 2


def _flatten(graph: fx.Graph, node: fx.Node) -> None:
    source: Any = node.args[0]
    given, result = shape(source), [*shape(node)]
    last = next(iter(node.users))
    if len(node.users) > 1 or last.target is not QUANTIZE:
        last = node

    def call(target: Any, *args: Any) -> fx.Node:
        return graph.call_function(target, args)

    with graph.inserting_before(node):
        rows = call(aten.reshape.default, source.args[0], [prod(given[:-1]), given[-1]])
        read = call(DEQUANTIZE, rows, *source.args[1:])
    node.update_arg(0, read)
    with graph.inserting_after(last):
        shaped = call(aten.reshape.default, last, result)
    last.replace_all_uses_with(shaped, delete_user_cb=lambda user: user is not shaped)
