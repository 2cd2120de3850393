"""Truth values: of several at once, of numbers, and of what is no finite number."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

aten = torch.ops.aten


def _holds(x: Tensor) -> Tensor:
    return x if x.dtype == torch.bool else x != 0


def _extreme(x: Tensor, axes: Sequence[int], keepdim: bool, *, largest: bool) -> Tensor:
    """Whether any (or each) along `axes` holds: the largest (smallest) of zeros and ones."""
    wanted = x.dtype if x.dtype == torch.uint8 else torch.bool
    if not axes:
        return _holds(x).to(wanted)
    numbers = _holds(x).to(torch.float32)
    found = (numbers.amax if largest else numbers.amin)(list(axes), keepdim) > 0.5
    return found.to(wanted)


def any_along(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """Whether any along one axis holds."""
    return _extreme(x, [dim] * (x.dim() > 0), keepdim, largest=True)


def any_of_axes(x: Tensor, dim: Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """Whether any along several axes holds."""
    return _extreme(x, list(range(x.dim()) if dim is None else dim), keepdim, largest=True)


def any_of_all(x: Tensor) -> Tensor:
    """Whether any holds."""
    return _extreme(x, list(range(x.dim())), False, largest=True)


def all_along(x: Tensor, dim: int, keepdim: bool = False) -> Tensor:
    """Whether each along one axis holds."""
    return _extreme(x, [dim] * (x.dim() > 0), keepdim, largest=False)


def all_of_axes(x: Tensor, dim: Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """Whether each along several axes holds."""
    return _extreme(x, list(range(x.dim()) if dim is None else dim), keepdim, largest=False)


def all_of_all(x: Tensor) -> Tensor:
    """Whether each holds."""
    return _extreme(x, list(range(x.dim())), False, largest=False)


def counted(x: Tensor, dim: Sequence[int]) -> Tensor:
    """How many numbers along some axes are not 0."""
    return _holds(x).sum(list(dim) or list(range(x.dim())))


def one_of_two(a: Tensor, b: Tensor) -> Tensor:
    """Where one holds and the other does not; torch's own operator for the bits of whole numbers."""
    a, b = _holds(a), _holds(b)
    # Not by `&` and `|`, whose operators torch takes apart only while it traces a user's network.
    return torch.logical_and(torch.logical_or(a, b), torch.logical_not(torch.logical_and(a, b)))


def bits_of_one(a: Tensor, b: Tensor) -> Tensor:
    """`a ^ b` of truth values; the bits of whole numbers have no simpler form."""
    return one_of_two(a, b) if a.dtype == b.dtype == torch.bool else NotImplemented


def both(a: Tensor, b: Tensor) -> Tensor:
    """`logical_and` of numbers."""
    if a.dtype == b.dtype == torch.bool:
        return NotImplemented
    return aten.logical_and(_holds(a), _holds(b))


def either(a: Tensor, b: Tensor) -> Tensor:
    """`logical_or` of numbers."""
    if a.dtype == b.dtype == torch.bool:
        return NotImplemented
    return aten.logical_or(_holds(a), _holds(b))


def opposite(x: Tensor) -> Tensor:
    """`logical_not` of numbers."""
    return NotImplemented if x.dtype == torch.bool else x == 0


def is_nan(x: Tensor) -> Tensor:
    """What is not even itself."""
    return x != x


def is_infinite(x: Tensor) -> Tensor:
    """Infinity of either sign."""
    return x.abs() == math.inf


def finite(
    x: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """`nan_to_num`: numbers in the place of those that are none."""
    if not x.is_floating_point():
        return x.clone()
    limits = torch.finfo(x.dtype)
    x = torch.where(is_nan(x), 0.0 if nan is None else nan, x)
    x = torch.where(x == math.inf, limits.max if posinf is None else posinf, x)
    return torch.where(x == -math.inf, limits.min if neginf is None else neginf, x)


def is_negative(x: Tensor) -> Tensor:
    """`signbit`; -0.0 counts as 0."""
    return x < 0


def numbered(x: Tensor, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """`bucketize`: how many of a row of boundaries lie before each number."""
    wide = x.unsqueeze(-1)
    before = boundaries <= wide if right else boundaries < wide
    return before.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)
