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
    return x.mean(list(range(x.dim())))


def running_sum(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    """`cumsum`: every position takes the sum of those up to it, a product with a triangle of ones."""
    return mixed(x, dim, torch.ones(x.shape[dim], x.shape[dim]).tril())
