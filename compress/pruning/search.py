"""Finds the channels to remove so that a network meets a target for its cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from compress.pruning.groups import PruningGroup, without
from compress.pruning.order import Removed, Slice

TOLERANCE = 0.02
"""Largest difference to the target that ends the search, as a share of the original cost."""
_OTHERS = 40
"""Number of other slices that are tried where the next one removes too much."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A pruned network, its cost, and the size of the slices that were removed last."""

    model: nn.Module
    cost: float
    round_to: int


class OutOfReach(ValueError):
    """The target is below the cost without all channels that may be removed."""

    def __init__(self, least: float) -> None:
        super().__init__(f"the least possible cost is {least:g}")
        self.least = least


def search(
    model: nn.Module,
    order: Callable[[Removed, int], list[Slice]],
    cost: Callable[[nn.Module], float],
    *,
    goal: float,
    tolerance: float,
    round_to: int,
) -> Found:
    """The network with the least important slices removed whose cost is at most `goal`, and close to it.

    `order(removed, round_to)` ranks the slices that remain. If the shortest sequence of slices that meets the goal
    removes more than `tolerance` too much, its last slice is left out and others are tried, then smaller slices,
    down to single channels. Raises `OutOfReach` if `goal` cannot be met.
    """
    best: Found | None = None
    removed: dict[PruningGroup, list[int]] = {}
    for size in _halvings(round_to):
        ranking = order(removed, size)
        least = cost(without(model, _with(removed, ranking)))
        if least > goal:
            if best is None:
                raise OutOfReach(least)
            break

        count = _shortest(_meets(cost, model, removed, ranking, goal=goal), most=len(ranking))
        best = _closer(best, _found(cost, model, _with(removed, ranking[:count]), size))
        if goal - best.cost <= tolerance or not count:
            break
        removed = _with(removed, ranking[: count - 1])
        skipped = {ranking[count - 1].group}
        for one in ranking[count : count + _OTHERS]:
            if one.group in skipped:
                continue
            filled = _found(cost, model, _with(removed, [one]), size)
            if filled.cost > goal:
                removed = _with(removed, [one])
            else:
                skipped.add(one.group)
                best = _closer(best, filled)
            if goal - best.cost <= tolerance:
                return best
    assert best is not None
    return best


def _halvings(size: int) -> list[int]:
    found = [size]
    while found[-1] > 1:
        found.append(found[-1] // 2)
    return found


def _meets(
    cost: Callable[[nn.Module], float],
    model: nn.Module,
    removed: Removed,
    ranking: Sequence[Slice],
    *,
    goal: float,
) -> Callable[[int], bool]:
    """Whether the goal is met without the first slices of a ranking, by their number."""
    return lambda count: cost(without(model, _with(removed, ranking[:count]))) <= goal


def _shortest(meets: Callable[[int], bool], *, most: int) -> int:
    """The smallest number of slices that meets the goal, by bisection; `most` does."""
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high


def _with(removed: Removed, more: Iterable[Slice]) -> dict[PruningGroup, list[int]]:
    found = {group: list(units) for group, units in removed.items()}
    for one in more:
        found.setdefault(one.group, []).extend(one.units)
    return found


def _found(cost: Callable[[nn.Module], float], model: nn.Module, removed: Removed, size: int) -> Found:
    pruned = without(model, removed)
    return Found(model=pruned, cost=cost(pruned), round_to=size)


def _closer(best: Found | None, new: Found) -> Found:
    """The one that removes less; both meet the goal."""
    return new if best is None or new.cost > best.cost else best
