"""The order in which channels are removed: slices of groups, the least important first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from compress.pruning.groups import PruningGroup

Scope = Literal["global", "layer"]
Removed = Mapping[PruningGroup, Sequence[int]]
"""The removed units of each group."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Units of a group that are removed in one step: its least important ones."""

    group: PruningGroup
    units: tuple[int, ...]
    importance: float
    """Mean of the units; slices of a group are in ascending order."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may be removed."""

    round_to: int
    """Channels that remain are a multiple of this, where they were before."""
    max_pruning_ratio: float
    """Largest share of the units of a group, over all cuts."""
    originally: Mapping[str, int] = field(default_factory=dict)
    """Number of units of each group before all cuts, by name; those of this network if not given."""


def slices(group: PruningGroup, importance: Tensor, limits: Limits, *, removed: Sequence[int]) -> list[Slice]:
    """All slices of a group that may still be removed, in order."""
    gone = set(removed)
    left = [unit for unit in importance.argsort(stable=True).tolist() if unit not in gone]
    original = limits.originally.get(group.name, len(group.units))
    allowed = int(limits.max_pruning_ratio * original + 1e-9) - (original - len(left))
    most = min(allowed, len(left) - group.least)
    step = group.step(limits.round_to)
    found, start, end = [], 0, len(left) % step or step
    while end <= most:
        units = tuple(left[start:end])
        value = float(importance[list(units)].mean())
        found.append(Slice(group=group, units=units, importance=value))
        start, end = end, end + step
    return found


def ranked(
    importances: Mapping[PruningGroup, Tensor],
    limits: Limits,
    *,
    scope: Scope,
    isomorphic: bool,
    removed: Removed,
) -> list[Slice]:
    """All slices of all groups in the order of their removal.

    Slices are ranked by importance within a scope: all groups, each group (`layer`), or groups of equal structure
    (`isomorphic`; Fang et al. 2024, "Isomorphic Pruning for Vision Models", section 3.3). Several scopes lose equal
    shares of their units.
    """
    found = {
        group: slices(group, values, limits, removed=removed.get(group, ()))
        for group, values in importances.items()
    }
    if scope == "global" and not isomorphic:
        return sorted((one for several in found.values() for one in several), key=lambda one: one.importance)
    scopes: dict[object, list[PruningGroup]] = {}
    for group in found:
        scopes.setdefault(group.kind if isomorphic else group, []).append(group)
    shares: list[tuple[float, Slice]] = []
    for groups in scopes.values():
        total = sum(len(group.units) for group in groups)
        gone = sum(len(removed.get(group, ())) for group in groups)
        for one in sorted((one for group in groups for one in found[group]), key=lambda one: one.importance):
            gone += len(one.units)
            shares.append((gone / total, one))
    return [one for _, one in sorted(shares, key=lambda pair: pair[0])]
