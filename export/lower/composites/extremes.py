"""Reductions with several results or over all elements, and cumulative operators."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from export.lower.composites.curves import logaddexp
from export.lower.composites.mixing import mixed

aten = torch.ops.aten


def maximum_along(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The largest values and their indices."""
    return x.amax(dim, keepdim), x.argmax(dim, keepdim)


def minimum_along(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The smallest values and their indices."""
    return x.amin(dim, keepdim), x.argmin(dim, keepdim)


def maximum_of_all(x: Tensor) -> Tensor:
    """The largest value."""
    return x.amax(list(range(x.dim())))


def minimum_of_all(x: Tensor) -> Tensor:
    """The smallest value."""
    return x.amin(list(range(x.dim())))


def mean_of_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """The mean of all elements."""
    return x.mean(list(range(x.dim())), dtype=dtype)


def cumsum(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """`cumsum`, as a product with a triangle of ones.

    Integers are added as floats, exact up to 2^24, and not in a layer, which int8 networks would round.
    """
    size = x.shape[dim]
    given = torch.int64 if not x.is_floating_point() else x.dtype
    wanted = given if dtype is None else dtype
    if wanted.is_floating_point:
        return mixed(x.to(wanted), dim, torch.ones(size, size, dtype=wanted).tril())
    whole = x.to(wanted) if x.is_floating_point() else x
    rows = whole.to(torch.float32).movedim(dim, -1)
    sums = rows.reshape(-1, size) @ torch.ones(size, size).triu()
    return sums.reshape(rows.shape).movedim(-1, dim).to(wanted)


def aminmax(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """`aminmax`: the smallest and the largest values."""
    axes = list(range(x.dim())) if dim is None else [dim]
    return x.amin(axes, keepdim), x.amax(axes, keepdim)


def clamp_by_tensors(x: Tensor, min: Tensor | None = None, max: Tensor | None = None) -> Tensor:
    """`clamp` with tensors as limits."""
    for limit, choose in ((min, torch.maximum), (max, torch.minimum)):
        if limit is not None:
            wanted = torch.result_type(x, limit)
            x = choose(x.to(wanted), limit.to(wanted))
    return x


def clamp_min(x: Tensor, min: Tensor) -> Tensor:
    """`clamp_min` by a tensor."""
    return clamp_by_tensors(x, min)


def clamp_max(x: Tensor, max: Tensor) -> Tensor:
    """`clamp_max` by a tensor."""
    return clamp_by_tensors(x, None, max)


def prod_along(x: Tensor, dim: int, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    """`prod`: multiplies the two halves of the axis until one position is left."""
    x = x.to(dtype or (x.dtype if x.is_floating_point() else torch.int64))
    if x.dim() == 0:
        return x
    left: Tensor | None = None
    while (size := x.shape[dim]) > 1:
        if size % 2:
            last = x.narrow(dim, size - 1, 1)
            left = last if left is None else left * last
        x = x.narrow(dim, 0, size // 2) * x.narrow(dim, size // 2, size // 2)
    x = x if left is None else x * left
    return x if keepdim else x.squeeze(dim)


def prod_of_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """The product of all elements."""
    return prod_along(x.reshape(-1), 0, dtype=dtype)


def _scanned(x: Tensor, dim: int, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Every position combined with all before it, in doubling steps (Hillis and Steele, 1986)."""
    size, reach = x.shape[dim], 1
    while reach < size:
        later = join(x.narrow(dim, reach, size - reach), x.narrow(dim, 0, size - reach))
        x = torch.cat([x.narrow(dim, 0, reach), later], dim)
        reach *= 2
    return x


def cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """`cumprod`."""
    return _scanned(x.to(dtype or (x.dtype if x.is_floating_point() else torch.int64)), dim, torch.mul)


def cummax(x: Tensor, dim: int) -> tuple[Tensor, None]:
    """`cummax`, without indices."""
    return _scanned(x, dim, torch.maximum), None


def cummin(x: Tensor, dim: int) -> tuple[Tensor, None]:
    """`cummin`, without indices."""
    return _scanned(x, dim, torch.minimum), None


def logcumsumexp(x: Tensor, dim: int) -> Tensor:
    """`logcumsumexp`."""
    return _scanned(x, dim, logaddexp)


def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """`kthvalue`."""
    found = x.topk(k, dim, largest=False)
    parts = [part.narrow(dim, k - 1, 1) for part in found]
    return tuple(part if keepdim else part.squeeze(dim) for part in parts)  # type: ignore[return-value]


def median(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """`median` along an axis: the lower of two."""
    return kthvalue(x, (x.shape[dim] + 1) // 2, dim, keepdim)


def sort(x: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
    """`sort`, as `topk` of all elements."""
    return aten.topk(x, x.shape[dim], dim, descending)


def stable_sort(
    x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """`sort(stable=...)`; the order of equal numbers may differ, which only the indices show."""
    return sort(x, dim, descending)
