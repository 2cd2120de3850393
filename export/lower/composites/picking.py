"""Indexing, reading and writing, by constant indices and by computed ones.

Reads use rows of one flat list, so that a runtime needs only one gather. Writes handle one position after the
other, each as a `where` between the old value and the new.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

aten = torch.ops.aten

FEW_WRITES = 64
"""Maximum number of positions that are written: each is an operator over the whole value."""


def index_tensors(x: Tensor, indices: Sequence[Tensor | None]) -> Tensor:
    """`x[:, i, j]`: entries along the indexed axes, which become one axis.

    If the indexed axes are not adjacent, the new axis comes first, as in torch.
    """
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    if axes[-1] - axes[0] >= len(axes):
        x, axes = x.movedim(axes, list(range(len(axes)))), list(range(len(axes)))
    first, last = axes[0], axes[-1]
    numbers = [index for index in indices if index is not None]
    place = numbers[0] % x.shape[first]
    for size, number in zip(x.shape[first + 1 :], numbers[1:], strict=False):
        place = place * size + number % size
    chosen = aten.index_select(x.flatten(first, last), first, place.flatten())
    return chosen.reshape([*x.shape[:first], *place.shape, *x.shape[last + 1 :]])


def gather(x: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """`gather`: every position has its own index along `dim`."""
    if x.dim() == 0:
        return x.expand(index.shape)
    dim %= x.dim()
    for axis, size in enumerate(index.shape):
        if axis != dim and size != x.shape[axis]:
            x = x.narrow(axis, 0, size)
    size, count = x.shape[dim], index.shape[dim]
    rows = x.movedim(dim, -1).reshape(-1)
    places = index.movedim(dim, -1).reshape(-1, count)
    places = places + size * torch.arange(places.shape[0], dtype=places.dtype).unsqueeze(1)
    others = [length for axis, length in enumerate(index.shape) if axis != dim]
    return aten.index_select(rows, 0, places.reshape(-1)).reshape([*others, count]).movedim(-1, dim)


def _written(
    x: Tensor, dim: int, index: Tensor, values: Tensor | float, join: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    dim %= x.dim()
    if any(a != b for axis, (a, b) in enumerate(zip(x.shape, index.shape, strict=True)) if axis != dim):
        return NotImplemented
    if index.shape[dim] > FEW_WRITES:
        return NotImplemented
    shape = [-1 if axis == dim else 1 for axis in range(x.dim())]
    positions = torch.arange(x.shape[dim], dtype=index.dtype).reshape(shape)
    for k in range(index.shape[dim]):
        new = (
            values.narrow(dim, k, 1) if isinstance(values, Tensor) else torch.full((), values, dtype=x.dtype)
        )
        x = torch.where(index.narrow(dim, k, 1) == positions, join(x, new), x)
    return x


def _replaced(old: Tensor, new: Tensor) -> Tensor:
    return new


def scatter(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`scatter`: `x` with the entries of `src` at the positions of `index`."""
    for axis, size in enumerate(index.shape):
        src = src.narrow(axis, 0, size) if size != src.shape[axis] else src
    return _written(x, dim, index, src, _replaced)


def scatter_value(x: Tensor, dim: int, index: Tensor, value: float) -> Tensor:
    """`scatter` of one number."""
    return _written(x, dim, index, value, _replaced)


def scatter_add(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """`scatter_add`."""
    for axis, size in enumerate(index.shape):
        src = src.narrow(axis, 0, size) if size != src.shape[axis] else src
    return _written(x, dim, index, src, torch.add)


def _along(x: Tensor, dim: int, index: Tensor) -> Tensor:
    """The indices of one axis, for every position of the others."""
    shape = [-1 if axis == dim % x.dim() else 1 for axis in range(x.dim())]
    sizes = [index.numel() if axis == dim % x.dim() else size for axis, size in enumerate(x.shape)]
    return (index % x.shape[dim]).reshape(shape).expand(sizes)


def index_fill(x: Tensor, dim: int, index: Tensor, value: float) -> Tensor:
    """`index_fill`."""
    return _written(x, dim, _along(x, dim, index), value, _replaced)


def index_copy(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """`index_copy`."""
    return _written(x, dim, _along(x, dim, index), source, _replaced)


def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: float = 1) -> Tensor:
    """`index_add`."""
    return _written(x, dim, _along(x, dim, index), source * alpha, torch.add)


def index_put(
    x: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    """`x[:, i] = values` for indices along one axis, `x[mask] = value` for a mask and one value."""
    given = [(axis, index) for axis, index in enumerate(indices) if index is not None]
    if len(given) != 1:
        return NotImplemented
    axis, index = given[0]
    if index.dtype == torch.bool:
        if values.numel() != 1 or accumulate:
            return NotImplemented
        mask = index.reshape([*index.shape, *[1] * (x.dim() - axis - index.dim())])
        return torch.where(mask, values.reshape(()).to(x.dtype), x)
    if index.dim() != 1:
        return NotImplemented
    sizes = [index.numel() if a == axis else size for a, size in enumerate(x.shape)]
    join = torch.add if accumulate else _replaced
    return _written(x, axis, _along(x, axis, index), values.to(x.dtype).expand(sizes), join)


def take(x: Tensor, index: Tensor) -> Tensor:
    """`take`: entries of the flattened tensor."""
    places = index % math.prod(x.shape)
    return aten.index_select(x.reshape(-1), 0, places.reshape(-1)).reshape(index.shape)


def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """`diagonal`: entries (i, i + offset) of two axes, along a new last axis."""
    rows, columns = x.shape[dim1], x.shape[dim2]
    first = (max(-offset, 0), max(offset, 0))
    length = max(min(rows - first[0], columns - first[1]), 0)
    flat = x.movedim((dim1, dim2), (-2, -1)).flatten(-2)
    places = torch.arange(length) * (columns + 1) + first[0] * columns + first[1]
    return aten.index_select(flat, -1, places)
