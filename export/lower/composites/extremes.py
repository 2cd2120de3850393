"""Reductions that give several results or reduce everything, and running sums."""

from __future__ import annotations

import torch
from torch import Tensor

from export.lower.composites.mixing import mixed


def maximum_along(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The largest values and where they are."""
    return x.amax(dim, keepdim), x.argmax(dim, keepdim)


def minimum_along(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The smallest values and where they are."""
    return x.amin(dim, keepdim), x.argmin(dim, keepdim)


def maximum_of_all(x: Tensor) -> Tensor:
    """The largest value."""
    return x.amax(list(range(x.dim())))


def minimum_of_all(x: Tensor) -> Tensor:
    """The smallest value."""
    return x.amin(list(range(x.dim())))


def mean_of_all(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """One mean."""
    return x.mean(list(range(x.dim())), dtype=dtype)


def running_sum(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """`cumsum`: every position takes the sum of those up to it, a product with a triangle of ones.

    Whole numbers are added up as floats, exact up to 2^24, and not in a layer, which int8 networks would round.
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
