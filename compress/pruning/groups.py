"""Groups of channels that can only be removed together, and their removal. `find_groups` finds them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What removing channels of a group means for one layer or parameter of the network."""

    name: str
    handler: Callable[[nn.Module, list[int]], Any] | None
    """Removes channels of a layer; None for a parameter."""
    axis: int
    """Axis of a parameter."""
    indices: tuple[int, ...]
    roots: tuple[int, ...]
    """The channel of the group to which each index belongs."""
    computes: bool
    """Whether the channels are computed there, not read."""

    @property
    def place(self) -> tuple[Any, ...]:
        """The axis of a layer or parameter; groups may share it, behind a concatenation."""
        return (self.name, self.handler, self.axis)

    def of(self, channels: set[int]) -> list[int]:
        """The indices of these channels of the group."""
        return [index for index, root in zip(self.indices, self.roots, strict=True) if root in channels]


@dataclass(frozen=True)
class Member:
    """A layer of a group in the form that the criteria of torch-pruning read: a pair with `root_idxs`."""

    dep: Any
    idxs: list[int]
    root_idxs: list[int]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.dep, self.idxs))

    def within(self, start: int, size: int) -> Member:
        """The part of the layer that belongs to `size` channels of the group, numbered from `start`."""
        pairs = [
            (index, root - start)
            for index, root in zip(self.idxs, self.root_idxs, strict=True)
            if start <= root < start + size
        ]
        return Member(self.dep, [index for index, _ in pairs], [root for _, root in pairs])


@dataclass(frozen=True, kw_only=True, eq=False)
class PruningGroup:
    """Channels of one axis of the network, in all layers that share it."""

    name: str
    """The layer that computes the channels."""
    kind: str
    """Equal for groups of layers of equal types in equal order, whose importance can be compared (isomorphic)."""
    units: tuple[tuple[int, ...], ...]
    """Channels that can only be removed together: one, one of every group of a grouped layer, all of a head, or a
    unit of every layer and direction of a recurrent layer."""
    edits: tuple[Edit, ...]
    members: list[Member] = field(repr=False)
    parts: int = 1
    """Number of equal runs of channels, of which a unit may combine any: layers and directions of recurrent
    layers, those of the last layer last."""
    least: int = 1
    """Number of units that always remain."""

    @property
    def channels(self) -> int:
        """Number of channels."""
        return sum(map(len, self.units))

    def paired(self, criterion: Callable[[Any], Tensor | None]) -> PruningGroup:
        """The group with units of equally important channels: the k-th least important one of each part."""
        values = None if self.parts == 1 else self._values(criterion)
        if values is None:
            return self
        order = values.unflatten(0, (self.parts, -1)).argsort(dim=1, stable=True)
        places = order + torch.arange(self.parts).unsqueeze(1) * order.shape[1]
        return replace(self, units=tuple(map(tuple, places.T.tolist())))

    def importance(self, criterion: Callable[[Any], Tensor | None]) -> Tensor | None:
        """The importance of each unit, the mean over its channels; None if the criterion has none for the group."""
        values = self._values(criterion)
        return None if values is None else torch.stack([values[list(unit)].mean() for unit in self.units])

    def step(self, round_to: int) -> int:
        """Number of units whose channels, in a layer and direction, are a multiple of `round_to`."""
        width = len(self.units[0]) // self.parts
        return round_to // math.gcd(round_to, width)

    def _values(self, criterion: Callable[[Any], Tensor | None]) -> Tensor | None:
        """The importance of each channel, asked for each part by itself."""
        size = self.channels // self.parts
        found = [
            criterion([one for member in self.members if (one := member.within(start, size)).idxs])
            for start in range(0, self.channels, size)
        ]
        there = [torch.nan_to_num(one.detach().float(), nan=0.0) for one in found if one is not None]
        return torch.cat(there) if len(there) == self.parts else None


def without(model: nn.Module, removed: Mapping[PruningGroup, Sequence[int]]) -> nn.Module:
    """A copy of the network without the given units of each group, by number."""
    indices: dict[tuple[Any, ...], list[int]] = {}
    for group, units in removed.items():
        channels = {channel for unit in units for channel in group.units[unit]}
        for edit in group.edits:
            indices.setdefault(edit.place, []).extend(edit.of(channels))
    pruned = copy.deepcopy(model)
    for (name, handler, axis), gone in indices.items():
        if not gone:
            continue
        if handler is not None:
            handler(pruned.get_submodule(name), gone)
            continue
        owner_name, _, parameter = name.rpartition(".")
        owner = pruned.get_submodule(owner_name)
        old = getattr(owner, parameter)
        kept = torch.tensor([index for index in range(old.shape[axis]) if index not in set(gone)])
        setattr(owner, parameter, nn.Parameter(old.detach().index_select(axis, kept)))
    return pruned
