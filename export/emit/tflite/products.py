"""Reductions over axes: linear layers, matrix products, means, softmax, normalisations, embedding lookup."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from export.emit.tflite import logic, pointwise
from export.emit.tflite.emit import Emitter, Value
from export.emit.tflite.graph import Tensor
from export.emit.tflite.layout import Order, identity
from export.emit.tflite.quantized import require_kernel_of_groups


def _last_in_memory(value: Value, dim: int) -> Order:
    """The order of `value` with torch's axis `dim` moved to the end, the others unchanged."""
    last = dim % value.rank
    return (*(axis for axis in value.order if axis != last), last)


def linear(e: Emitter, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """`x @ weight.T + bias` over the last axis: FULLY_CONNECTED; products of two computed values go to `matmul`."""
    if not weight.is_constant:
        product = matmul(e, x, Value(weight.tensor, (weight.order[0] ^ 1, weight.order[1] ^ 1)))
        return product if bias is None else pointwise.add(e, product, bias)
    require_kernel_of_groups(weight, is_linear=True)
    order = _last_in_memory(x, -1)
    rows = e.place(x, order)
    features = weight.shape[0]
    offsets = e.place(bias, (0,)) if bias else e.constant(np.zeros(features, np.float32))
    inputs = [rows, e.place(weight, (0, 1)), offsets]
    shape = (*rows.shape[:-1], features)
    return Value(e.op("FULLY_CONNECTED", inputs, shape, options={"keepNumDims": len(shape) > 2}), order)


def addmm(e: Emitter, bias: Value, x: Value, weight: Value) -> Value:
    """`x @ weight + bias`, the decomposed name of `linear`."""
    return linear(e, x, Value(weight.tensor, (weight.order[0] ^ 1, weight.order[1] ^ 1)), bias)


def matmul(e: Emitter, a: Value, b: Value) -> Value:
    """The matrix product of the last two axes, the others broadcast.

    Raises NotImplementedError for vectors.
    """
    if a.rank < 2 or b.rank < 2:
        raise NotImplementedError("matmul with a vector: give it an axis of length 1 by unsqueeze")
    if b.is_constant and b.rank == 2:
        return linear(e, a, Value(b.tensor, (b.order[0] ^ 1, b.order[1] ^ 1)))
    (left, flip_left), (right, flip_right) = _matrix(e, a), _matrix(e, b)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    options = {"adjX": flip_left, "adjY": flip_right}
    return Value(e.op("BATCH_MATMUL", [left, right], shape, options=options), identity(len(shape)))


def _matrix(e: Emitter, value: Value) -> tuple[Tensor, bool]:
    """The tensor of a matrix operand, and whether it is stored transposed, which the product can undo."""
    straight = identity(value.rank)
    turned = (*straight[:-2], straight[-1], straight[-2])
    if value.order == turned:
        return e.place(value, turned), True
    return e.place(value, straight), False


def softmax(e: Emitter, x: Value, dim: int, dtype: object = None) -> Value:
    """`exp(x) / sum(exp(x))` over `dim`."""
    order = _last_in_memory(x, dim)
    rows = e.place(x, order)
    return Value(e.op("SOFTMAX", [rows], rows.shape, options={"beta": 1.0}), order)


def log_softmax(e: Emitter, x: Value, dim: int, dtype: object = None) -> Value:
    """The logarithm of `softmax`."""
    order = _last_in_memory(x, dim)
    rows = e.place(x, order)
    return Value(e.op("LOG_SOFTMAX", [rows], rows.shape), order)


def reduce(
    e: Emitter, kind: str, x: Value, dims: Sequence[int] | int | None = None, keepdim: bool = False
) -> Value:
    """`kind` over the torch axes `dims`, or over all."""
    given = [dims] if isinstance(dims, int) else list(dims or range(x.rank))
    axes = sorted(x.axis(dim) for dim in given)
    tensor = e.place(x, x.order)
    kept = [axis for axis in range(x.rank) if axis not in axes]
    order: Order
    if keepdim:
        shape, order = [1 if axis in axes else size for axis, size in enumerate(tensor.shape)], x.order
    else:
        left = sorted(x.order[axis] for axis in kept)
        shape, order = (
            [tensor.shape[axis] for axis in kept],
            tuple(left.index(x.order[axis]) for axis in kept),
        )
    return Value(
        e.op(kind, [tensor, e.constant(axes)], shape, options={"keepDims": keepdim}, dtype=tensor.dtype),
        order,
    )


def mean(
    e: Emitter, x: Value, dims: Sequence[int] | int | None = None, keepdim: bool = False, dtype: object = None
) -> Value:
    """The mean over `dims`."""
    return reduce(e, "MEAN", x, dims, keepdim)


def reduce_sum(
    e: Emitter, x: Value, dims: Sequence[int] | int | None = None, keepdim: bool = False, dtype: object = None
) -> Value:
    """The sum over `dims`."""
    return reduce(e, "SUM", logic.as_numbers(e, x), dims, keepdim)


def largest(e: Emitter, x: Value, dims: Sequence[int] | int | None = None, keepdim: bool = False) -> Value:
    """The largest number over `dims`."""
    return reduce(e, "REDUCE_MAX", x, dims, keepdim)


def amin(e: Emitter, x: Value, dims: Sequence[int] | int | None = None, keepdim: bool = False) -> Value:
    """The smallest number over `dims`."""
    return reduce(e, "REDUCE_MIN", x, dims, keepdim)


def argmax(e: Emitter, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """Index of the largest element along `dim`, or among all elements."""
    return _arg(e, "ARG_MAX", x, dim, keepdim)


def argmin(e: Emitter, x: Value, dim: int | None = None, keepdim: bool = False) -> Value:
    """Index of the smallest element along `dim`, or among all elements."""
    return _arg(e, "ARG_MIN", x, dim, keepdim)


def _arg(e: Emitter, kind: str, x: Value, dim: int | None, keepdim: bool) -> Value:
    if dim is None:
        return e.reshape(
            _arg(e, kind, e.reshape(x, (math.prod(x.shape),)), 0, False), (1,) * x.rank * keepdim
        )
    left = [axis for axis in range(x.rank) if axis != dim % x.rank]
    rows = e.place(x, (*left, dim % x.rank))
    places = e.op(
        kind, [rows, e.constant([x.rank - 1])], rows.shape[:-1], options={"outputType": 2}, dtype="int32"
    )
    result = Value(places, identity(x.rank - 1))
    return (
        e.reshape(result, [1 if a == dim % x.rank else n for a, n in enumerate(x.shape)])
        if keepdim
        else result
    )


def topk(
    e: Emitter, x: Value, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> list[Value]:
    """The `k` largest or smallest elements along `dim`, and their indices."""
    rows = x if largest else pointwise.neg(e, x)
    tensor = e.place(rows, _last_in_memory(x, dim))
    shape = (*tensor.shape[:-1], k)
    values = e.op("TOPK_V2", [tensor, e.constant(np.asarray(k, np.int32))], shape, dtype=tensor.dtype)
    places = Tensor(f"{values.name}/places", shape, "int32")
    e.graph.ops[-1].outputs.append(places)
    order = _last_in_memory(x, dim)
    found = Value(values, order)
    return [found if largest else pointwise.neg(e, found), Value(places, order)]


def layer_norm(
    e: Emitter,
    x: Value,
    normalized_shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Value:
    """`(x - mean) / sqrt(variance + eps) * weight + bias` over the last axes (arXiv:1607.06450)."""
    dims = [x.rank - 1 - axis for axis in range(len(normalized_shape))]
    centre = reduce(e, "MEAN", x, dims, True)
    spread = reduce(e, "MEAN", pointwise.binary(e, "SQUARED_DIFFERENCE", x, centre), dims, True)
    y = pointwise.mul(e, pointwise.sub(e, x, centre), pointwise.rsqrt(e, pointwise.add(e, spread, eps)))
    if weight is not None:
        y = pointwise.mul(e, y, weight)
    return y if bias is None else pointwise.add(e, y, bias)


def batch_norm(
    e: Emitter,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value,
    running_var: Value,
    momentum: float,
    eps: float,
) -> list[Value]:
    """A BatchNorm that no convolution could absorb: one MUL and one ADD, the first of torch's three results."""
    scale, shift, centre, variance = (
        None if v is None else v.tensor.data for v in (weight, bias, running_mean, running_var)
    )
    assert centre is not None and variance is not None
    factor = (1.0 if scale is None else scale) / np.sqrt(variance + eps)
    offset = (0.0 if shift is None else shift) - centre * factor
    shape = (1, -1, *(1,) * (x.rank - 2))
    factors, offsets = (
        Value(e.constant(part.reshape(shape).astype(np.float32)), identity(x.rank))
        for part in (factor, offset)
    )
    return [pointwise.add(e, pointwise.mul(e, x, factors), offsets)]


def embedding(
    e: Emitter,
    weight: Value,
    indices: Value,
    padding_idx: int = -1,
    scale_grad: bool = False,
    sparse: bool = False,
) -> Value:
    """Rows of `weight` by index: GATHER."""
    rows = e.place(weight, (0, 1))
    numbers = e.place(indices, identity(indices.rank))
    shape = (*numbers.shape, weight.shape[1])
    return Value(e.op("GATHER", [rows, numbers], shape, options={"axis": 0}), identity(len(shape)))
