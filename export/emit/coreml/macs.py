"""Multiply-adds of MIL's operators from their shapes, counted as those of torch (`export.verify.coverage.macs`)."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coremltools.converters.mil.mil import Operation


def macs(operation: Operation) -> int:
    """Multiply-adds of one operation, those of its blocks once; 0 for data movement, elementwise operators and
    pooling."""
    inside = sum(macs(inner) for block in operation.blocks for inner in block.operations)
    count = _COUNTS.get(operation.op_type)
    return inside + (0 if count is None else int(count(operation)))


def _convolution(operation: Operation) -> int:
    return prod(operation.outputs[0].shape) * prod(operation.inputs["weight"].shape[1:])


def _transposed(operation: Operation) -> int:
    return prod(operation.inputs["x"].shape) * prod(operation.inputs["weight"].shape[1:])


def _linear(operation: Operation) -> int:
    return prod(operation.outputs[0].shape) * operation.inputs["weight"].shape[1]


def _matmul(operation: Operation) -> int:
    flipped = operation.inputs["transpose_x"]
    x = operation.inputs["x"].shape
    summed = x[-2] if flipped is not None and flipped.val else x[-1]
    return prod(operation.outputs[0].shape) * summed


def _einsum(operation: Operation) -> int:
    return prod(operation.outputs[0].shape) * operation.inputs["values"][0].shape[-1]


def _attention(operation: Operation) -> int:
    query, key, value = (operation.inputs[name].shape for name in ("query", "key", "value"))
    return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _recurrent(operation: Operation) -> int:
    steps, batch = operation.inputs["x"].shape[:2]
    names = ("weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back")
    matrices = [operation.inputs.get(name) for name in names]
    return steps * batch * sum(prod(matrix.shape) for matrix in matrices if matrix is not None)


_COUNTS: dict[str, Callable[[Operation], int]] = {
    "conv": _convolution,
    "conv_transpose": _transposed,
    "linear": _linear,
    "matmul": _matmul,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "lstm": _recurrent,
    "gru": _recurrent,
    "rnn": _recurrent,
}
