"""Observes other work on this machine, by the processor times of the system."""

from __future__ import annotations

import os
from typing import Any

import psutil

from benchmarks.conditions import OtherLoad


class HostLoad:
    """A `Watch` of this machine, from its creation to `end`.

    Processor time of this process and of its ended children counts as own, all other as that of others.
    """

    def __init__(self) -> None:
        self._system, self._own_s = psutil.cpu_times(), _own_s()

    def end(self) -> OtherLoad:
        """Other work since the creation."""
        return other_load(self._system, psutil.cpu_times(), own_s=_own_s() - self._own_s, cores=_cores())


def other_load(before: Any, after: Any, *, own_s: float, cores: int) -> OtherLoad:
    """Other work between two values of `psutil.cpu_times()`, of which `own_s` seconds were own work."""
    spent = {name: getattr(after, name) - getattr(before, name) for name in after._fields}
    # `guest` and `guest_nice` are part of `user` and `nice`.
    all_s = sum(value for name, value in spent.items() if not name.startswith("guest"))
    idle_s = sum(spent.get(name, 0.0) for name in ("idle", "iowait", "steal"))
    if all_s <= 0:
        return OtherLoad(cores=cores, others_cores=None, steal_share=None)
    others_s = max(0.0, all_s - idle_s - own_s)
    steal_s = spent.get("steal")
    return OtherLoad(
        cores=cores,
        others_cores=others_s / all_s * cores,
        steal_share=None if steal_s is None else steal_s / all_s,
    )


def _own_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _cores() -> int:
    return os.cpu_count() or 1
