"""Booleans: reductions, logic on numbers, and tests for non-finite numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

aten = torch.ops.aten


def _holds(x: Tensor) -> Tensor:
    return x if x.dtype == torch.bool else x != 0


def _extreme(x: Tensor, axes: Sequence[int], keepdim: bool, *, largest: bool) -> Tensor:
    """`any` (or `all`) along `axes`: the maximum (minimum) of zeros and ones."""
    wanted = x.dtype if x.dtype == torch.uint8 else torch.bool
    if not axes:
        return _holds(x).to(wanted)
    numbers = _holds(x).to(torch.float32)
    found = (numbers.amax if largest else numbers.amin)(list(axes), keepdim) > 0.5
    return found.to(wanted)


def any_along(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """`any` along one axis."""
    return _extreme(x, [dim] * (x.dim() > 0), keepdim, largest=True)


def any_of_axes(x: Tensor, dim: Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """`any` along several axes."""
    return _extreme(x, list(range(x.dim()) if dim is None else dim), keepdim, largest=True)


def any_of_all(x: Tensor) -> Tensor:
    """`any` of all elements."""
    return _extreme(x, list(range(x.dim())), False, largest=True)


def all_along(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """`all` along one axis."""
    return _extreme(x, [dim] * (x.dim() > 0), keepdim, largest=False)


def all_of_axes(x: Tensor, dim: Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """`all` along several axes."""
    return _extreme(x, list(range(x.dim()) if dim is None else dim), keepdim, largest=False)


def all_of_all(x: Tensor) -> Tensor:
    """`all` of all elements."""
    return _extreme(x, list(range(x.dim())), False, largest=False)


def count_nonzero(x: Tensor, dim: Sequence[int]) -> Tensor:
    """`count_nonzero` along some axes."""
    return _holds(x).sum(list(dim) or list(range(x.dim())))


def logical_xor(a: Tensor, b: Tensor) -> Tensor:
    """`logical_xor`; torch's own operator is bitwise on integers."""
    a, b = _holds(a), _holds(b)
    # Not by `&` and `|`, whose operators torch decomposes only while it traces a user's network.
    return torch.logical_and(torch.logical_or(a, b), torch.logical_not(torch.logical_and(a, b)))


def bitwise_xor(a: Tensor, b: Tensor) -> Tensor:
    """`bitwise_xor` of booleans; that of integers has no simpler form."""
    return logical_xor(a, b) if a.dtype == b.dtype == torch.bool else NotImplemented


def logical_and(a: Tensor, b: Tensor) -> Tensor:
    """`logical_and` of numbers."""
    if a.dtype == b.dtype == torch.bool:
        return NotImplemented
    return aten.logical_and(_holds(a), _holds(b))


def logical_or(a: Tensor, b: Tensor) -> Tensor:
    """`logical_or` of numbers."""
    if a.dtype == b.dtype == torch.bool:
        return NotImplemented
    return aten.logical_or(_holds(a), _holds(b))


def logical_not(x: Tensor) -> Tensor:
    """`logical_not` of numbers."""
    return NotImplemented if x.dtype == torch.bool else x == 0


def isnan(x: Tensor) -> Tensor:
    """`isnan`: numbers that differ from themselves."""
    return x != x


def isinf(x: Tensor) -> Tensor:
    """Infinity of either sign."""
    return x.abs() == math.inf


def nan_to_num(
    x: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """`nan_to_num`: replaces non-finite numbers."""
    if not x.is_floating_point():
        return x.clone()
    limits = torch.finfo(x.dtype)
    x = torch.where(isnan(x), 0.0 if nan is None else nan, x)
    x = torch.where(x == math.inf, limits.max if posinf is None else posinf, x)
    return torch.where(x == -math.inf, limits.min if neginf is None else neginf, x)


def signbit(x: Tensor) -> Tensor:
    """`signbit`; -0.0 counts as 0."""
    return x < 0


def bucketize(x: Tensor, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """`bucketize`: the number of boundaries before each number."""
    wide = x.unsqueeze(-1)
    before = boundaries <= wide if right else boundaries < wide
    return before.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)
