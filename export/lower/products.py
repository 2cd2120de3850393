"""Linear layers, normalisation over the last axes, matrix products and embedding lookups of values of any rank."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx, nn

from export.lower.block import Value, held, row_major, shape_of
from export.lower.lowering import Lowering
from export.lower.reshaping import expanded, reshaped, rows_of
from export.lower.source import parameters, shape

aten = torch.ops.aten


def linear(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """A linear layer on the last axis: one row per position."""
    rows = rows_of(lowering, args["input"], 1, name=f"{node.name}_rows")
    y = lowering.copy(node, (rows, args["weight"], args["bias"]))
    return held(lowering.writer, y, shape(node), name=f"{node.name}_shape")


def layer_norm(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """LayerNorm over one or several last axes: one row per position."""
    axes = len(args["normalized_shape"])
    rows = rows_of(lowering, args["input"], axes, name=f"{node.name}_rows")
    factors = [None if args[key] is None else args[key].reshape(-1) for key in ("weight", "bias")]
    y = lowering.copy(node, (rows, [shape_of(rows)[1]], *factors, args["eps"]))
    return held(lowering.writer, y, shape(node), name=f"{node.name}_shape")


def embedding(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Rows of a table by indices of any rank."""
    numbers = lowering.writer.reshape(row_major(args["indices"]), (-1,), name=f"{node.name}_flat")
    rest = [args[argument.name] for argument in parameters(node)[2:]]
    y = lowering.copy(node, (args["weight"], numbers, *rest))
    return held(lowering.writer, y, shape(node), name=f"{node.name}_shape")


def matmul(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Matrix products of any rank; axes before the last two are merged."""
    writer, name = lowering.writer, node.name
    left, right = (
        _stored(lowering, args[key], name=f"{name}_{key}") if isinstance(args[key], Tensor) else args[key]
        for key in ("self", "other")
    )
    wide, tall = shape_of(left), shape_of(right)
    if len(tall) == 1:
        right = reshaped(lowering, right, (*tall, 1), name=f"{name}_column")
    if len(wide) == 1:
        left = reshaped(lowering, left, (1, *wide), name=f"{name}_row")
    (*batch, m, k), (*other_batch, _, n) = shape_of(left), shape_of(right)
    if math.prod(other_batch) == 1:
        # One matrix for all: the rows of all products are stacked.
        a = writer.reshape(row_major(left), (math.prod(batch) * m, k), name=f"{name}_rows")
        b = writer.reshape(row_major(right), (k, n), name=f"{name}_matrix")
    else:
        both = torch.broadcast_shapes(tuple(batch), tuple(other_batch))
        left = expanded(lowering, left, (*both, m, k), name=f"{name}_left")
        right = expanded(lowering, right, (*both, k, n), name=f"{name}_right")
        a = writer.reshape(row_major(left), (math.prod(both), m, k), name=f"{name}_left_merged")
        b = writer.reshape(row_major(right), (math.prod(both), k, n), name=f"{name}_right_merged")
    y = writer.call(aten.matmul.default, (a, b), name=name)
    return held(writer, y, shape(node), name=f"{name}_shape")


def _stored(lowering: Lowering, value: Tensor, *, name: str) -> Value:
    trainable = isinstance(value, nn.Parameter) and value.requires_grad
    store = lowering.writer.weight if trainable else lowering.writer.constant
    flat = value.reshape(-1, *value.shape[-2:]) if value.dim() > 2 else value
    return held(lowering.writer, store(flat, name=name), tuple(value.shape), name=f"{name}_shape")
