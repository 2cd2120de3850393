"""Multiply-adds of ATen operators from their shapes, in captured, lowered and edge graphs alike.

Counts convolutions, matrix products, attention and recurrent layers, as in publications; elementwise operators,
data movement, pooling and normalisation count 0. Biases are additions and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from torch import fx

from export.lower.source import bind
from export.private.torch import schema_of

Shape = tuple[int, ...]


def macs(node: fx.Node) -> int:
    """Multiply-adds of one call, 0 for other nodes and for operators that are not counted."""
    schema = schema_of(node.target)
    if node.op != "call_function" or schema is None or schema.name not in _COUNTS:
        return 0
    return _COUNTS[schema.name](bind(node, node.args, node.kwargs), _shape(node))


def _shape(value: Any) -> Shape:
    """Shape of the output tensor of a node, the first of several."""
    given = value.meta["val"]
    return tuple((given[0] if isinstance(given, tuple | list) else given).shape)


def _convolution(arguments: dict[str, Any], result: Shape) -> int:
    """Every output value sums over its group's channels and the kernel."""
    if arguments.get("transposed"):
        return _transposed(arguments, result)
    return prod(result) * prod(_shape(arguments["weight"])[1:])


def _transposed(arguments: dict[str, Any], result: Shape) -> int:
    """Every input value is multiplied with its kernel, whose results overlap; padding crops some of them."""
    return prod(_shape(arguments["input"])) * prod(_shape(arguments["weight"])[1:])


def _product(left: str) -> Callable[[dict[str, Any], Shape], int]:
    """A matrix product whose argument `left` has the summed axis last."""
    return lambda arguments, result: prod(result) * _shape(arguments[left])[-1]


def _attention(arguments: dict[str, Any], result: Shape) -> int:
    """Queries times keys, then weights times values; masked positions are computed as well."""
    queries, keys = _shape(arguments["query"]), _shape(arguments["key"])
    return prod(queries[:-1]) * keys[-2] * (queries[-1] + result[-1])


def _recurrent(arguments: dict[str, Any], result: Shape) -> int:
    """Every weight matrix of every layer and direction, once for each step of each sequence."""
    steps = prod(_shape(arguments["input"])[:-1])
    return steps * sum(prod(_shape(weight)) for weight in arguments["params"] if len(_shape(weight)) == 2)


_COUNTS: dict[str, Callable[[dict[str, Any], Shape], int]] = {
    "aten::convolution": _convolution,
    "aten::conv1d": _convolution,
    "aten::conv2d": _convolution,
    "aten::conv3d": _convolution,
    "aten::conv_transpose1d": _transposed,
    "aten::conv_transpose2d": _transposed,
    "aten::conv_transpose3d": _transposed,
    "aten::linear": _product("input"),
    "aten::addmm": _product("mat1"),
    "aten::mm": _product("self"),
    "aten::bmm": _product("self"),
    "aten::baddbmm": _product("batch1"),
    "aten::matmul": _product("self"),
    "aten::mv": _product("self"),
    "aten::scaled_dot_product_attention": _attention,
    "aten::lstm": _recurrent,
    "aten::gru": _recurrent,
    "aten::rnn_tanh": _recurrent,
    "aten::rnn_relu": _recurrent,
}
"""By name in the operator's schema, which all its overloads share."""
