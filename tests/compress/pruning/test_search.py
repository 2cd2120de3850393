"""The order of slices, the search for a count, and the search for a latency without its measurements."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from compress.pruning.groups import PruningGroup
from compress.pruning.latency import Saving, cheapest_first, envelope
from compress.pruning.order import Limits, ranked, slices
from compress.pruning.search import OutOfReach, search

LIMITS = Limits(round_to=2, max_pruning_ratio=0.8)


def group(name="g", units=8, *, width=1, kind="conv"):
    every = tuple(tuple(range(unit * width, (unit + 1) * width)) for unit in range(units))
    return PruningGroup(name=name, kind=kind, units=every, edits=(), members=[])


def units_of(found):
    return [one.units for one in found]


def test_slices_take_the_least_important_units_and_leave_a_multiple_of_round_to():
    importance = torch.tensor([5.0, 1.0, 7.0, 2.0, 3.0, 9.0, 8.0])
    found = slices(group(units=7), importance, LIMITS, removed=())
    assert units_of(found) == [
        (1,),
        (3, 4),
        (0, 2),
    ]  # 6, 4, then 2 of 7; the last two would be more than 80 %
    assert [one.importance for one in found] == [1.0, 2.5, 6.0]


def test_a_share_of_units_is_counted_over_all_cuts():
    limits = Limits(round_to=2, max_pruning_ratio=0.5, originally={"g": 12})
    assert units_of(slices(group(units=8), torch.arange(8.0), limits, removed=())) == [(0, 1)]


def test_heads_are_removed_one_by_one_if_their_features_are_a_multiple_of_round_to():
    limits = Limits(round_to=8, max_pruning_ratio=0.8)
    assert units_of(slices(group(units=3, width=16), torch.arange(3.0), limits, removed=())) == [(0,), (1,)]
    assert units_of(slices(group(units=6, width=4), torch.arange(6.0), limits, removed=())) == [
        (0, 1),
        (2, 3),
    ]


def test_scopes_lose_equal_shares_and_the_global_order_is_by_importance():
    weak, strong = group("weak", kind="a"), group("strong", kind="b")
    importances = {weak: torch.arange(8.0), strong: torch.arange(8.0) + 100}

    def names(**options):
        found = ranked(importances, LIMITS, removed={}, **{"scope": "global", "isomorphic": False, **options})
        return [one.group.name for one in found]

    assert names() == ["weak"] * 3 + ["strong"] * 3
    assert sorted(names(scope="layer")[:2]) == sorted(names(isomorphic=True)[:2]) == ["strong", "weak"]


def test_isomorphic_groups_are_compared_with_each_other_only():
    groups = [group("a", kind="x"), group("b", kind="x"), group("c", kind="y")]
    importances = {one: torch.arange(8.0) + 100 * k for k, one in enumerate(groups)}
    found = ranked(importances, LIMITS, scope="global", isomorphic=True, removed={})
    assert [one.group.name for one in found][:3] == ["a", "a", "c"]  # 2 and 4 of 16 units, 2 of 8


class Width(nn.Module):
    """A network whose cost is the sum of the weights of the units that remain."""


def costs(monkeypatch, weights):
    """Has `without` give the removed units themselves; returns the cost of a network."""
    monkeypatch.setattr("compress.pruning.search.without", lambda model, removed: dict(removed))
    whole = sum(itertools.chain.from_iterable(weights.values()))

    def cost(removed):
        return whole - sum(weights[one][unit] for one, units in removed.items() for unit in units)

    return cost, whole


def test_the_search_removes_no_more_than_the_goal_needs(monkeypatch):
    one = group("a", units=10)
    cost, whole = costs(monkeypatch, {one: [1.0] * 10})

    def order(removed, size):
        limits = Limits(round_to=size, max_pruning_ratio=0.9)
        return ranked({one: torch.arange(10.0)}, limits, scope="global", isomorphic=False, removed=removed)

    found = search(Width(), order, cost, goal=0.7 * whole, tolerance=0.02 * whole, round_to=1)
    assert found.cost == pytest.approx(7.0) and found.model[one] == [0, 1, 2]


def test_a_slice_that_removes_too_much_is_replaced_by_others_then_by_smaller_ones(monkeypatch):
    large, small = group("large", units=8), group("small", units=8)
    weights = {large: [10.0] * 8, small: [0.5] * 8}
    cost, whole = costs(monkeypatch, weights)
    importances = {large: torch.arange(8.0), small: torch.arange(8.0) + 0.5}

    def order(removed, size):
        limits = Limits(round_to=size, max_pruning_ratio=0.9)
        return ranked(importances, limits, scope="global", isomorphic=False, removed=removed)

    found = search(Width(), order, cost, goal=whole - 12, tolerance=0.02 * whole, round_to=4)
    assert whole - 12 - 0.02 * whole <= found.cost <= whole - 12
    assert found.round_to == 1 and len(found.model[large]) == 1


def test_a_goal_below_all_that_may_be_removed_is_out_of_reach(monkeypatch):
    one = group("a", units=10)
    cost, whole = costs(monkeypatch, {one: [1.0] * 10})

    def order(removed, size):
        limits = Limits(round_to=size, max_pruning_ratio=0.5)
        return ranked({one: torch.arange(10.0)}, limits, scope="global", isomorphic=False, removed=removed)

    with pytest.raises(OutOfReach, match="the least possible cost is 5") as caught:
        search(Width(), order, cost, goal=0.1 * whole, tolerance=0.0, round_to=1)
    assert caught.value.least == 5.0


def test_latency_goes_where_a_millisecond_costs_least_importance():
    cheap, dear = group("cheap"), group("dear")
    chains = {one: slices(one, torch.ones(8), LIMITS, removed=()) for one in (cheap, dear)}
    savings = {cheap: Saving(points=[(6, 0.3)]), dear: Saving(points=[(2, 0.2), (6, 0.2)])}
    order = cheapest_first(chains, savings)
    assert [one.group.name for one, _ in order] == ["dear", "cheap", "cheap", "cheap", "dear", "dear"]
    assert [round(saved, 6) for _, saved in order] == [0.2, 0.1, 0.1, 0.1, 0, 0]


def test_noise_in_the_table_never_counts_as_a_slower_network():
    assert envelope([(8, -0.02), (16, 0.2), (24, 0.15)]) == [(8, 0.0), (16, 0.2), (24, 0.2)]
    assert Saving(points=[(8, 0.1), (16, 0.3)]).at(12) == pytest.approx(0.2)
