"""Padding, shifts, repetition and assignment to parts of a value, by slices and concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def padded(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """`torch.nn.functional.pad`: zeros around T, H and W stay padding; other padding becomes slices and
    concatenation."""
    amounts = {x.dim() - 1 - at // 2: (pad[at], pad[at + 1]) for at in range(0, len(pad), 2)}
    kept = [0] * len(pad)
    for axis, (before, after) in amounts.items():
        size = x.shape[axis]
        if before < 0 or after < 0:
            x = x.narrow(axis, max(-before, 0), size + min(before, 0) + min(after, 0))
        before, after = max(before, 0), max(after, 0)
        if not before and not after:
            continue
        if mode == "constant" and x.dim() <= 5 and (axis >= 2 or x.dim() < 5):
            at = 2 * (x.dim() - 1 - axis)
            kept[at : at + 2] = before, after
            continue
        ends = [
            _end(x, axis, before, mode, value, front=True),
            _end(x, axis, after, mode, value, front=False),
        ]
        x = torch.cat([part for part in (ends[0], x, ends[1]) if part.shape[axis]], axis)
    return aten.constant_pad_nd(x, kept, value or 0.0) if any(kept) else x


def _end(x: Tensor, axis: int, amount: int, mode: str, value: float | None, *, front: bool) -> Tensor:
    """The part before (or after) `x` if it is padded by `amount` along `axis`."""
    size = x.shape[axis]
    if mode == "constant":
        shape = [amount if a == axis else s for a, s in enumerate(x.shape)]
        return torch.full(shape, value or 0.0, dtype=x.dtype)
    if not amount:
        return x.narrow(axis, 0, 0)
    if mode == "circular":
        return x.narrow(axis, size - amount if front else 0, amount)
    if mode == "replicate":
        positions = [0 if front else size - 1] * amount
    else:
        positions = list(range(amount, 0, -1)) if front else list(range(size - 2, size - 2 - amount, -1))
    return torch.cat([x.narrow(axis, position, 1) for position in positions], axis)


def repeat(x: Tensor, repeats: Sequence[int]) -> Tensor:
    """`Tensor.repeat`: axes of length 1 are expanded, others concatenated with themselves."""
    x = x.reshape([1] * (len(repeats) - x.dim()) + list(x.shape))
    for axis, count in enumerate(repeats):
        if count > 1 and x.shape[axis] > 1:
            x = torch.cat([x] * count, axis)
    return x.expand(
        [size * count if size == 1 else size for size, count in zip(x.shape, repeats, strict=True)]
    )


def repeat_interleave(
    x: Tensor, repeats: int, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """`repeat_interleave` with one number for all elements."""
    x, dim = (x.flatten(), 0) if dim is None else (x, dim % x.dim())
    wide = x.unsqueeze(dim + 1)
    wide = wide.expand([repeats if axis == dim + 1 else size for axis, size in enumerate(wide.shape)])
    return wide.reshape([size * repeats if axis == dim else size for axis, size in enumerate(x.shape)])


def roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor:
    """`roll`: elements shifted beyond the end return at the beginning."""
    if not dims:
        return roll(x.flatten(), shifts, [0]).reshape(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        size = x.shape[dim]
        cut = size - shift % size
        if cut < size:
            x = torch.cat([x.narrow(dim, cut, size - cut), x.narrow(dim, 0, cut)], dim)
    return x


def flip(x: Tensor, dims: Sequence[int]) -> Tensor:
    """`flip`: reverses every axis of `dims`."""
    for dim in dims:
        x = aten.index_select(x, dim, torch.arange(x.shape[dim] - 1, -1, -1))
    return x


def unfold(x: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """`Tensor.unfold`: windows along an axis, their entries along a new last axis."""
    count = (x.shape[dimension] - size) // step + 1
    parts = [
        aten.slice(x, dimension, first, first + (count - 1) * step + 1, step).unsqueeze(-1)
        for first in range(size)
    ]
    return torch.cat(parts, -1)


def slice_scatter(
    x: Tensor, source: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """`slice_scatter`: `x` with `x[start:end:step] = source`."""
    taken = range(x.shape[dim])[slice(start, end, step)]
    if not len(taken):
        return x
    source = source.expand([len(taken) if a == dim % x.dim() else s for a, s in enumerate(x.shape)])
    if step == 1:
        parts = [x.narrow(dim, 0, taken.start), source, x.narrow(dim, taken.stop, x.shape[dim] - taken.stop)]
    else:
        parts = [
            source.narrow(dim, taken.index(position), 1) if position in taken else x.narrow(dim, position, 1)
            for position in range(x.shape[dim])
        ]
    parts = [part for part in parts if part.shape[dim]]
    return torch.cat(parts, dim) if len(parts) > 1 else parts[0]


def select_scatter(x: Tensor, source: Tensor, dim: int, index: int) -> Tensor:
    """`select_scatter`: `x` with `x[index] = source`."""
    index %= x.shape[dim]
    return slice_scatter(x, source.unsqueeze(dim), dim, index, index + 1)


def copy(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """`x.copy_(source)`."""
    return source.to(x.dtype).expand(x.shape)


def full_like(x: Tensor, value: float, *, dtype: torch.dtype | None = None, **ignored: Any) -> Tensor:
    """`full_like`, `zeros_like` and similar operators: a constant, independent of the values of `x`."""
    return torch.full(x.shape, value, dtype=dtype or x.dtype)
