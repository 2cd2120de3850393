"""Elementwise comparisons, logic, selection and type conversion."""

from __future__ import annotations

import numpy as np
import torch

from export.emit.tflite.emit import Emitter, Value
from export.emit.tflite.graph import Tensor
from export.emit.tflite.layout import identity
from export.emit.tflite.pointwise import Operand, binary, unary

DTYPES = {torch.float32: "float32", torch.int64: "int32", torch.int32: "int32", torch.bool: "bool"}
"""Types in files by those in torch: LiteRT's integers are int32."""


def equal(e: Emitter, a: Operand, b: Operand) -> Value:
    """Elementwise `a == b`."""
    return binary(e, "EQUAL", a, b, dtype="bool")


def not_equal(e: Emitter, a: Operand, b: Operand) -> Value:
    """Elementwise `a != b`."""
    return binary(e, "NOT_EQUAL", a, b, dtype="bool")


def greater(e: Emitter, a: Operand, b: Operand) -> Value:
    """Elementwise `a > b`."""
    return binary(e, "GREATER", a, b, dtype="bool")


def greater_equal(e: Emitter, a: Operand, b: Operand) -> Value:
    """Elementwise `a >= b`."""
    return binary(e, "GREATER_EQUAL", a, b, dtype="bool")


def less(e: Emitter, a: Operand, b: Operand) -> Value:
    """Elementwise `a < b`."""
    return binary(e, "LESS", a, b, dtype="bool")


def less_equal(e: Emitter, a: Operand, b: Operand) -> Value:
    """Elementwise `a <= b`."""
    return binary(e, "LESS_EQUAL", a, b, dtype="bool")


def logical_and(e: Emitter, a: Value, b: Value) -> Value:
    """Logical and.

    Raises NotImplementedError for integers: LiteRT has no bitwise operators.
    """
    return binary(e, "LOGICAL_AND", _boolean(a), _boolean(b))


def logical_or(e: Emitter, a: Value, b: Value) -> Value:
    """Logical or.

    Raises NotImplementedError for integers: LiteRT has no bitwise operators.
    """
    return binary(e, "LOGICAL_OR", _boolean(a), _boolean(b))


def logical_not(e: Emitter, x: Value) -> Value:
    """Logical not.

    Raises NotImplementedError for numbers.
    """
    return unary(e, "LOGICAL_NOT", _boolean(x))


def _boolean(x: Value) -> Value:
    if x.tensor.dtype != "bool":
        raise NotImplementedError(f"logic on {x.tensor.dtype} numbers: compare with 0 first")
    return x


def where(e: Emitter, condition: Value, a: Value, b: Value) -> Value:
    """`a` where `condition` is true, else `b`."""
    rank = max(value.rank for value in (condition, a, b))
    lifted = [e.reshape(value, (1,) * (rank - value.rank) + value.shape) for value in (condition, a, b)]
    computed = [value for value in lifted if not value.is_constant]
    order = max(computed, key=lambda value: np.prod(value.shape)).order if computed else identity(rank)
    tensors = [e.place(value, order) for value in lifted]
    shape = np.broadcast_shapes(*(tensor.shape for tensor in tensors))
    return Value(e.op("SELECT_V2", tensors, shape, dtype=tensors[1].dtype), order)


def cast(e: Emitter, x: Value, *, dtype: torch.dtype, **ignored: object) -> Value:
    """`x` in another type.

    Raises NotImplementedError for types that files do not have.
    """
    if dtype not in DTYPES:
        raise NotImplementedError(f"numbers of type {dtype}: files have float32, int32 and bool")
    tensor = e.place(x, x.order)
    if tensor.dtype == DTYPES[dtype]:
        return x
    return Value(_cast(e, tensor, DTYPES[dtype]), x.order)


def as_numbers(e: Emitter, x: Value) -> Value:
    """Booleans as 0 and 1, so that they can be added; numbers unchanged."""
    if x.tensor.dtype != "bool":
        return x
    return Value(_cast(e, e.place(x, x.order), "int32"), x.order)


def _cast(e: Emitter, tensor: Tensor, dtype: str) -> Tensor:
    return e.op("CAST", [tensor], tensor.shape, dtype=dtype)
