"""Removes int8 rounding that changes nothing from a graph, and restores it.

Operators that pass on values unchanged need no rounding after them, but integer backends expect one on both sides
of every operator (`export.quantize.int8_reference` repeats the scale there). Without them, other passes recognise a
value in all its forms; at the end every such operator gets its pair again.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx

from export.lower.source import bind, shape
from export.quantize.quantizer import KEEPS_VALUES

aten = torch.ops.aten
quantized = torch.ops.quantized_decomposed

QUANTIZE = quantized.quantize_per_tensor.default
DEQUANTIZE = quantized.dequantize_per_tensor.default
READ_WEIGHT = quantized.dequantize_per_channel.default
READ_GROUPS = torch.ops.torchao.dequantize_affine.default

PASSES_ON = (*KEEPS_VALUES, aten.cat.default, aten.constant_pad_nd.default)


def bare(module: fx.GraphModule) -> None:
    """Removes Q from int8 -> DQ -> data movement -> Q with the same scale; in place."""
    graph = module.graph
    for quantize in [node for node in graph.nodes if node.target is QUANTIZE]:
        moved: Any = quantize.args[0]
        if moved.op != "call_function" or len(moved.users) > 1 or not _passes_on(module, moved):
            continue
        if _scale(module, moved) != quantize.args[1:] or any(
            r.target is not DEQUANTIZE for r in quantize.users
        ):
            continue
        for reader in list(quantize.users):
            reader.replace_all_uses_with(moved)
            graph.erase_node(reader)
        graph.erase_node(quantize)


def rounded(module: fx.GraphModule) -> None:
    """Reverses `bare`, and gives each consumer of an int8 value its own DQ; in place.

    ExecuTorch's partitioner cannot separate consumers that share a DQ.
    """
    graph = module.graph
    for node in list(graph.nodes):
        if node.op != "call_function" or not _passes_on(module, node):
            continue
        scale = _scale(module, node)
        if scale is None or all(
            reader.target is QUANTIZE and reader.args[1:] == scale for reader in node.users
        ):
            continue
        with graph.inserting_after(node):
            quantize = _like(graph.call_function(QUANTIZE, (node, *scale)), node)
        with graph.inserting_after(quantize):
            dequantize = _like(graph.call_function(DEQUANTIZE, (quantize, *scale)), node)
        node.replace_all_uses_with(dequantize, delete_user_cb=lambda user, q=quantize: user is not q)
    for node in [node for node in graph.nodes if node.target in (DEQUANTIZE, READ_WEIGHT, READ_GROUPS)]:
        for reader in list(node.users)[1:]:
            with graph.inserting_before(reader):
                reader.replace_input_with(node, _like(graph.node_copy(node), node))


def is_dequantized(node: Any) -> bool:
    """Whether `node` dequantizes an int8 value."""
    return isinstance(node, fx.Node) and node.target is DEQUANTIZE


def _like(new: fx.Node, old: fx.Node) -> fx.Node:
    new.meta = dict(old.meta)
    return new


def _scale(module: fx.GraphModule, node: fx.Node) -> Any:
    """Scale, zero point and limits of the int8 values that `node` reads or passes on; None if it has others."""
    if is_dequantized(node):
        return node.args[1:]
    if node.op != "call_function" or not _passes_on(module, node):
        return None
    sources = [source for source in node.all_input_nodes if not is_stored(source)]
    scales = {_scale(module, source) for source in sources}
    return scales.pop() if len(scales) == 1 else None


def _passes_on(module: fx.GraphModule, node: fx.Node) -> bool:
    return node.target in PASSES_ON or (node.target is aten.conv2d.default and bool(moves(module, node)))


def moves(module: fx.GraphModule, node: fx.Node) -> list[int] | None:
    """The temporal taps that a Conv2d (k, 1) copies, block of channels by block; None if it computes."""
    args = bind(node, node.args, node.kwargs)
    if args["bias"] is not None or not is_stored(args["weight"]) or shape(args["weight"])[3] != 1:
        return None
    weight = stored(module, args["weight"])
    whole = weight.round()
    # An int8 weight of 1 is 127 steps of 1/127.
    if (weight - whole).abs().max() > 1e-5 or not ((whole == 0) | (whole == 1)).all():
        return None
    outputs, inputs = whole.shape[:2]
    blocks = [whole] if args["groups"] == outputs else whole.split(inputs) if args["groups"] == 1 else []
    copies = torch.ones(outputs, 1) if args["groups"] == outputs else torch.eye(inputs)
    taps: list[int] = []
    for block in blocks:
        hot = block.flatten(0, 1).any(0).nonzero()[:, 0].tolist()
        if len(hot) != 1 or not torch.equal(block[:, :, hot[0], 0], copies):
            return None
        taps += hot
    return taps or None


def is_stored(weight: Any) -> bool:
    """Whether a weight is a constant, or the dequantize of an int8 constant."""
    if not isinstance(weight, fx.Node):
        return False
    numbers: Any = weight.args[0] if weight.target in (READ_WEIGHT, READ_GROUPS) else weight
    return numbers.op == "get_attr"


def stored(module: fx.GraphModule, weight: fx.Node) -> Tensor:
    """The numbers of a constant weight: the dequantized ones for a dequantize, the int8 ones for its input."""
    if weight.op == "get_attr":
        return operator.attrgetter(str(weight.target))(module).detach()
    values = (stored(module, a) if isinstance(a, fx.Node) else a for a in weight.args)
    read: Any = weight.target
    result: Tensor = read(*values)
    return result
