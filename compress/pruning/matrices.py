"""Matrices within layers: how they are cut, and how criteria read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Matrix:
    """A matrix to which channels belong, as a linear layer that shares weight and gradient."""

    linear: nn.Linear
    indices: list[int]
    """Rows if `out`, otherwise columns."""
    roots: list[int]
    """The channel of the group to which each index belongs."""
    out: bool


class Rule:
    """The interface of torch-pruning for a layer, whose channels do not depend on each other."""

    pruning_dim = -1

    def get_in_channel_groups(self, layer: nn.Module) -> int:
        """Number of parts that remain equally large."""
        return 1

    get_out_channel_groups = get_in_channel_groups


def as_linear(weight: Any) -> nn.Linear:
    """A linear layer with this weight."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = weight
    return linear


def linear_of(x: Tensor, features: int) -> Tensor:
    """A linear function with a weight that is no parameter of the network."""
    return functional.linear(x, torch.ones(features, x.shape[-1], requires_grad=True))


def kept_of(count: int, removed: Sequence[int]) -> list[int]:
    """The numbers below `count` that are not removed."""
    gone = set(removed)
    return [index for index in range(count) if index not in gone]


def selected(weight: Any, kept: Sequence[int], *, axis: int) -> nn.Parameter:
    """The rows or columns `kept` of a weight, and of its gradient."""
    places = torch.tensor(kept, dtype=torch.long)
    found = nn.Parameter(weight.detach().index_select(axis, places))
    found.grad = None if weight.grad is None else weight.grad.index_select(axis, places)
    return found
