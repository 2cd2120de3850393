"""The target latency: removes what is least important for each millisecond that it saves.

Shen et al. 2022, "Structural Pruning via Latency-Saliency Knapsack" (HALP): saliency and a table of measured
latencies decide together which channels go. The table here holds the whole network with one group at several
widths, which includes the effect on neighbouring layers and on fusions; predictions are corrected by measuring the
whole network after every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from compress.command.progress import bar
from compress.pruning.groups import PruningGroup, without
from compress.pruning.order import Slice, slices
from compress.pruning.search import TOLERANCE, Found, OutOfReach
from compress.pruning.target import Ranking, Setting
from compress.pruning.timing import Timed, program_of
from compress.timed_files import remembered

WIDTHS = 2
"""Measured widths of each group, equally spaced down to its smallest."""
MOST_MEASUREMENTS = 10
"""Number of measurements of the whole network after which the best one is taken."""

Points = Sequence[tuple[int, float]]
"""Removed units of a group, and the share of the latency of the network that they save."""


@dataclass(frozen=True, kw_only=True)
class Saving:
    """The latency that removing units of one group saves, as a share of the network's: piecewise linear."""

    points: Points

    def at(self, units: int) -> float:
        """The share that the first `units` save.

        >>> Saving(points=[(8, 0.25), (16, 0.75)]).at(12)
        0.5
        """
        before = (0, 0.0)
        for after in self.points:
            if units <= after[0]:
                return before[1] + (after[1] - before[1]) * (units - before[0]) / (after[0] - before[0])
            before = after
        return before[1]


def envelope(points: Points) -> list[tuple[int, float]]:
    """The points without decreases: fewer channels never count as slower, which only noise shows.

    >>> envelope([(8, -0.02), (16, 0.2), (24, 0.15)])
    [(8, 0.0), (16, 0.2), (24, 0.2)]
    """
    found: list[tuple[int, float]] = []
    most = 0.0
    for units, share in points:
        most = max(most, share)
        found.append((units, most))
    return found


def cheapest_first(
    chains: Mapping[PruningGroup, Sequence[Slice]], savings: Mapping[PruningGroup, Saving]
) -> list[tuple[Slice, float]]:
    """All slices, the next one always the one with the least importance for the latency it saves, with its saving.

    Slices that save nothing come last. Slices of a group keep their order.
    """
    position, removed = dict.fromkeys(chains, 0), dict.fromkeys(chains, 0)
    order: list[tuple[Slice, float]] = []

    def next_of(group: PruningGroup) -> tuple[float, float, Slice, float]:
        one = chains[group][position[group]]
        saved = savings[group].at(removed[group] + len(one.units)) - savings[group].at(removed[group])
        price = one.importance * len(one.units) / saved if saved > 0 else float("inf")
        return price, one.importance, one, saved

    while left := [group for group in chains if position[group] < len(chains[group])]:
        _, _, one, saved = min((next_of(group) for group in left), key=lambda found: found[:2])
        order.append((one, saved))
        position[one.group] += 1
        removed[one.group] += len(one.units)
    return order


class Latency:
    """Median latency of one clip in a runtime on a device, with one thread."""

    quantity, unit = "latency", "ms"

    def __init__(self, model: nn.Module, setting: Setting) -> None:
        self._setting = setting
        self._timed = Timed(model, setting)
        self._shapes = _shapes(model)
        self.original = self._timed.p50_ms
        self.notes: tuple[str, ...] = (
            f"latency of {setting.scheme} files in {self._timed.runtime} on {self._timed.device}, one thread",
        )

    def cut(self, model: nn.Module, ranking: Ranking, *, goal: float) -> Found:
        """The network whose measured latency is at most `goal`, and at most 2 % of the original less if a
        measurement finds one.

        Raises ValueError if the runtime cannot run a network, and `Unavailable` if the device is lost.
        """
        with self._timed.connected():
            return self._cut(model, ranking, goal=goal)

    def _cut(self, model: nn.Module, ranking: Ranking, *, goal: float) -> Found:
        chains = {
            group: chain
            for group, values in ranking.importances.items()
            if (chain := slices(group, values, ranking.limits, removed=()))
        }
        unpruned = _shapes(model) == self._shapes
        begin_ms = self.original if unpruned else self._ms(model)
        order = cheapest_first(chains, self._savings(model, chains, begin_ms=begin_ms))
        return self._search(model, order, goal=goal, begin_ms=begin_ms, round_to=ranking.limits.round_to)

    def _search(
        self,
        model: nn.Module,
        order: Sequence[tuple[Slice, float]],
        *,
        goal: float,
        begin_ms: float,
        round_to: int,
    ) -> Found:
        """Measures the network without the first slices of the order, their number corrected each time."""
        saved = [0.0]
        for _, share in order:
            saved.append(saved[-1] + share)
        tolerance = TOLERANCE * self.original
        slow, fast = (0, begin_ms), None
        best: Found | None = None
        with bar(self._setting.console, "prune: latency of the network", unit=" measurements") as report:
            for done in range(MOST_MEASUREMENTS):
                report(done, MOST_MEASUREMENTS)
                count = _next(saved, slow, fast, goal=goal - tolerance / 2)
                pruned = without(model, _units(order[:count]))
                cost = self._ms(pruned)
                report.milestone(f"{cost:.3f} ms, asked for {goal:.3f} ms")
                if cost > goal:
                    if count == len(order):
                        raise OutOfReach(cost)
                    slow = (count, cost)
                else:
                    fast = (count, cost)
                    if best is None or cost > best.cost:
                        best = Found(model=pruned, cost=cost, round_to=round_to)
                if best is not None and goal - best.cost <= tolerance:
                    break
                if fast is not None and fast[0] - slow[0] <= 1:
                    break
        if best is None:
            raise OutOfReach(slow[1])
        return best

    def _ms(self, model: nn.Module) -> float:
        return self._timed.shares([model])[0] * self.original

    def _savings(
        self, model: nn.Module, chains: Mapping[PruningGroup, Sequence[Slice]], *, begin_ms: float
    ) -> dict[PruningGroup, Saving]:
        """The table of latencies, from the cache if it has one for this graph, runtime and device."""
        widths = {group: _widths(chain) for group, chain in chains.items()}
        shares = remembered(
            self._setting.cache,
            self._parts(model, widths),
            lambda: self._measured(model, chains, widths, begin_ms=begin_ms),
        )
        return {
            group: Saving(points=envelope(list(zip(widths[group], shares[group.name], strict=True))))
            for group in chains
        }

    def _measured(
        self,
        model: nn.Module,
        chains: Mapping[PruningGroup, Sequence[Slice]],
        widths: Mapping[PruningGroup, Sequence[int]],
        *,
        begin_ms: float,
    ) -> dict[str, list[float]]:
        """The saved share of each group at each of its widths."""
        pairs = [(group, units) for group in chains for units in widths[group]]
        networks = [
            without(model, {group: [unit for one in chains[group] for unit in one.units][:units]})
            for group, units in pairs
        ]
        with bar(self._setting.console, "prune: table of latencies", unit=" networks") as report:
            report(0, len(pairs))
            shares = self._timed.shares(networks, report=lambda done: report(done, len(pairs)))
        found: dict[str, list[float]] = {group.name: [] for group in chains}
        for (group, _), share in zip(pairs, shares, strict=True):
            found[group.name].append(begin_ms / self.original - share)
        return found

    def _parts(self, model: nn.Module, widths: Mapping[PruningGroup, Sequence[int]]) -> dict[str, Any]:
        """What determines the table, as `remembered` takes it."""
        setting = self._setting
        return {
            "graph": program_of(model, setting).graph_module.code,
            "shapes": _shapes(model),
            "inputs": [list(one.shape) for one in setting.spec.example()],
            "widths": {group.name: list(units) for group, units in widths.items()},
            "runtime": [setting.runtime, setting.scheme, self._timed.runtime],
            "device": [self._timed.device, _plain(setting)],
        }


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in model.state_dict().items()}


def _plain(setting: Setting) -> dict[str, Any] | None:
    """The settings of the device as plain data."""
    return None if setting.device is None else setting.device[1].model_dump(mode="json")


def _widths(chain: Sequence[Slice]) -> list[int]:
    """Numbers of removed units at which a group is measured: whole slices, up to all that may be removed."""
    sizes = [len(one.units) for one in chain]
    counts = sorted({max(1, round(len(sizes) * part / WIDTHS)) for part in range(1, WIDTHS + 1)})
    return [sum(sizes[:count]) for count in counts]


def _next(
    saved: Sequence[float], slow: tuple[int, float], fast: tuple[int, float] | None, *, goal: float
) -> int:
    """The number of slices to measure next: the first whose latency, by the predicted savings scaled to the last
    measurements, is at most `goal`."""
    low, high = slow[0] + 1, len(saved) - 1
    if fast is not None:
        high = fast[0] - 1
        if saved[fast[0]] > saved[slow[0]]:
            scale = (slow[1] - fast[1]) / (saved[fast[0]] - saved[slow[0]])
        else:
            return (low + high) // 2
    else:
        scale = slow[1]
    for count in range(low, high):
        if slow[1] - scale * (saved[count] - saved[slow[0]]) <= goal:
            return count
    return high


def _units(order: Sequence[tuple[Slice, float]]) -> dict[PruningGroup, list[int]]:
    found: dict[PruningGroup, list[int]] = {}
    for one, _ in order:
        found.setdefault(one.group, []).extend(one.units)
    return found
