"""Operators that move numbers without computing: most become a new axis order or a RESHAPE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.emit.tflite.emit import Emitter, Value
from export.emit.tflite.layout import channels_last, identity, permuted, stored

JOINED_AT_ONCE = 5
"""Maximum number of inputs of a CONCATENATION in the XNNPACK delegate."""


def same(e: Emitter, x: Value, *ignored: object, **also_ignored: object) -> Value:
    """`x` itself: for operators that only matter in training or for torch's memory."""
    return x


def permute(e: Emitter, x: Value, dims: Sequence[int]) -> Value:
    """Permuted axes over the same memory."""
    return Value(x.tensor, permuted(x.order, [dim % x.rank for dim in dims]))


def transpose(e: Emitter, x: Value, one: int, other: int) -> Value:
    """Two axes swapped."""
    dims = list(identity(x.rank))
    dims[one], dims[other] = dims[other], dims[one]
    return permute(e, x, dims)


def transpose_matrix(e: Emitter, x: Value) -> Value:
    """`x.t()`."""
    return transpose(e, x, 0, 1) if x.rank == 2 else x


def reshape(e: Emitter, x: Value, shape: Sequence[int]) -> Value:
    """Another shape of the same numbers; one length may be -1."""
    known = int(np.prod([size for size in shape if size != -1]))
    count = int(np.prod(x.shape))
    return e.reshape(x, [count // known if size == -1 else size for size in shape])


def flatten(e: Emitter, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """Adjacent axes merged into one."""
    start, end = start_dim % x.rank, end_dim % x.rank
    return e.reshape(x, [*x.shape[:start], int(np.prod(x.shape[start : end + 1])), *x.shape[end + 1 :]])


def unsqueeze(e: Emitter, x: Value, dim: int) -> Value:
    """A new axis of length 1."""
    shape = list(x.shape)
    shape.insert(dim % (x.rank + 1), 1)
    return e.reshape(x, shape)


def squeeze(e: Emitter, x: Value, dims: Sequence[int] | int | None = None) -> Value:
    """Without the axes `dims` (or any) that have length 1."""
    given = range(x.rank) if dims is None else [dims] if isinstance(dims, int) else dims
    dropped = {dim % x.rank for dim in given}
    return e.reshape(x, [size for axis, size in enumerate(x.shape) if axis not in dropped or size != 1])


def expand(e: Emitter, x: Value, sizes: Sequence[int], *, implicit: bool = False) -> Value:
    """Axes of length 1 repeated, new axes in front."""
    lifted = e.reshape(x, (1,) * (len(sizes) - x.rank) + x.shape)
    shape = [own if size == -1 else size for size, own in zip(sizes, lifted.shape, strict=True)]
    if tuple(shape) == lifted.shape:
        return lifted
    target = stored(shape, lifted.order)
    tensor = e.place(lifted, lifted.order)
    return Value(e.op("BROADCAST_TO", [tensor, e.constant(target)], target, dtype=tensor.dtype), lifted.order)


def narrow(e: Emitter, x: Value, dim: int, start: int, length: int, step: int = 1) -> Value:
    """`length` entries of axis `dim` from `start`, every `step`-th."""
    if (start, length, step) == (0, x.shape[dim], 1):
        return x
    axis = x.axis(dim)
    tensor = e.place(x, x.order)
    begin = [start if at == axis else 0 for at in range(x.rank)]
    shape = [length if at == axis else size for at, size in enumerate(tensor.shape)]
    if step == 1:
        inputs = [tensor, e.constant(begin), e.constant(shape)]
        return Value(e.op("SLICE", inputs, shape, dtype=tensor.dtype), x.order)
    if x.shape[dim] % step == 0:
        return _cut_every(e, x, dim, start, length, step)
    end = [start + (length - 1) * step + 1 if at == axis else size for at, size in enumerate(tensor.shape)]
    steps = [step if at == axis else 1 for at in range(x.rank)]
    inputs = [tensor, e.constant(begin), e.constant(end), e.constant(steps)]
    return Value(e.op("STRIDED_SLICE", inputs, shape, dtype=tensor.dtype), x.order)


def _cut_every(e: Emitter, x: Value, dim: int, start: int, length: int, step: int) -> Value:
    """Every `step`-th entry as one column of the axis folded to (entries, step): XNNPACK slices only with step
    1."""
    at = dim % x.rank
    folded = e.reshape(x, [*x.shape[:at], x.shape[at] // step, step, *x.shape[at + 1 :]])
    column = narrow(e, folded, at + 1, start % step, 1)
    entries = narrow(e, column, at, start // step, length)
    return e.reshape(entries, [*x.shape[:at], length, *x.shape[at + 1 :]])


def slice_axis(
    e: Emitter, x: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    """`x[..., start:end:step, ...]`."""
    first, last, _ = slice(start, end).indices(x.shape[dim])
    return narrow(e, x, dim, first, len(range(first, last, step)), step)


def select(e: Emitter, x: Value, dim: int, index: int) -> Value:
    """`x[..., index, ...]`."""
    shape = [size for axis, size in enumerate(x.shape) if axis != dim % x.rank]
    return e.reshape(narrow(e, x, dim, index % x.shape[dim], 1), shape)


def split_sizes(e: Emitter, x: Value, sizes: Sequence[int], dim: int = 0) -> list[Value]:
    """Consecutive pieces of the given lengths."""
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [narrow(e, x, dim, start, size) for start, size in zip(starts, sizes, strict=True)]


def split(e: Emitter, x: Value, size: int, dim: int = 0) -> list[Value]:
    """Pieces of length `size`, the last possibly shorter."""
    whole = x.shape[dim]
    return split_sizes(e, x, [min(size, whole - start) for start in range(0, whole, size)], dim)


def item(e: Emitter, values: Sequence[Value], index: int) -> Value:
    """One of several results."""
    return values[index]


def cat(e: Emitter, values: Sequence[Value], dim: int = 0) -> Value:
    """Concatenation along `dim`, in the memory order of the first computed value.

    Many values are concatenated in groups, because XNNPACK takes few at once.
    """
    if len(values) > JOINED_AT_ONCE:
        groups = [values[at : at + JOINED_AT_ONCE] for at in range(0, len(values), JOINED_AT_ONCE)]
        return cat(e, [cat(e, group, dim) if len(group) > 1 else group[0] for group in groups], dim)
    leader = next((value for value in values if not value.is_constant), values[0])
    tensors = [e.place(value, leader.order) for value in values]
    axis = leader.axis(dim)
    shape = list(tensors[0].shape)
    shape[axis] = sum(tensor.shape[axis] for tensor in tensors)
    options = {"axis": axis}
    return Value(e.op("CONCATENATION", tensors, shape, options=options, dtype=tensors[0].dtype), leader.order)


def nearest(
    e: Emitter, x: Value, output_size: Sequence[int] | None, scale_factors: Sequence[float] | None = None
) -> Value:
    """`aten.upsample_nearest2d`: pixels repeated."""
    size, order = _size(x, output_size, scale_factors), channels_last(4)
    shape = stored((*x.shape[:2], *size), order)
    inputs = [e.place(x, order), e.constant(list(size))]
    return Value(e.op("RESIZE_NEAREST_NEIGHBOR", inputs, shape), order)


def bilinear(
    e: Emitter,
    x: Value,
    output_size: Sequence[int] | None,
    align_corners: bool,
    scale_factors: Sequence[float] | None = None,
) -> Value:
    """`aten.upsample_bilinear2d`."""
    size, order = _size(x, output_size, scale_factors), channels_last(4)
    inputs = [e.place(x, order), e.constant(list(size))]
    options = {"alignCorners": align_corners, "halfPixelCenters": not align_corners}
    return Value(
        e.op("RESIZE_BILINEAR", inputs, stored((*x.shape[:2], *size), order), options=options), order
    )


def _size(x: Value, size: Sequence[int] | None, factors: Sequence[float] | None) -> list[int]:
    """Rows and columns from a size or from factors, which `export.lower` makes ratios of sizes."""
    if size is not None:
        return list(size)
    return [int(length * factor) for length, factor in zip(x.shape[2:], factors or (), strict=True)]


def index_select(e: Emitter, x: Value, dim: int, index: Value) -> Value:
    """Entries of axis `dim` by index."""
    tensor, numbers = e.place(x, x.order), e.place(index, identity(1))
    shape = list(tensor.shape)
    shape[x.axis(dim)] = numbers.shape[0]
    return Value(
        e.op("GATHER", [tensor, numbers], shape, options={"axis": x.axis(dim)}, dtype=tensor.dtype), x.order
    )


def pad(e: Emitter, x: Value, amounts: Sequence[int], value: float = 0.0) -> Value:
    """`amounts` are (before, after) of the last axis, then of the one before it, and so on.

    Raises NotImplementedError for negative amounts.
    """
    if min(amounts) < 0:
        raise NotImplementedError("padding by a negative amount: slice instead")
    pads = {x.rank - 1 - at // 2: (amounts[at], amounts[at + 1]) for at in range(0, len(amounts), 2)}
    tensor = e.place(x, x.order)
    return Value(e.pad(tensor, [pads.get(axis, (0, 0)) for axis in x.order], fill=value or 0.0), x.order)
