"""Conditions of a measurement: whether other work or a changing clock disturbed it.

Every round also measures one of the files a second time, in processes of its own: the reference. Both its medians
should be equal, and the same in all rounds. A device may also report what else ran on it (`Watched`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

SLOW = 1.25
"""A round is slow if the reference took more than this times its median over all rounds."""
SLOW_SHARE = 0.2
"""Share of slow rounds above which the machine counts as busy."""
TWINS_DIFFER = 0.02
"""The machine counts as busy if the ratio of the reference to its file differs from 1 by more than this, and its
interval excludes 1."""
STEAL_SHARE = 0.02
"""Share of processor time taken by other virtual machines above which the machine counts as busy."""
OTHERS_SHARE = 0.25
"""Share of the processor time of all cores, used by other processes, above which the machine counts as busy."""


@dataclass(frozen=True, kw_only=True)
class OtherLoad:
    """What other work a device did during the measurement; None if the system does not report it."""

    cores: int
    """Cores of the machine."""
    others_cores: float | None
    """Number of cores that other processes used on average."""
    steal_share: float | None
    """Share of processor time that the hypervisor gave to other virtual machines."""


class Watch(Protocol):
    """A running observation of a device."""

    def end(self) -> OtherLoad:
        """What was observed since the start. All sessions must be closed."""


@runtime_checkable
class Watched(Protocol):
    """A `Device` that observes other work. Others report none."""

    def watch(self) -> Watch:
        """Starts the observation."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Conditions under which the files of a device were measured; None for what could not be observed."""

    reference: str
    """The file that was measured twice."""
    twin_ratio: float
    """Its second median relative to the first."""
    twin_ratio_ci95: tuple[float, float] | None
    reference_spread: float
    """90th percentile of the reference's medians of rounds, relative to their median."""
    slow_rounds: int
    rounds: int
    others_cores: float | None
    steal_share: float | None
    busy: tuple[str, ...]
    """Reasons why the figures are less reliable; empty on a quiet machine."""


def judge(
    reference: str,
    reference_ms: Sequence[float],
    *,
    twin_ratio: float,
    twin_ratio_ci95: tuple[float, float] | None,
    load: OtherLoad | None,
) -> Conditions:
    """Conditions from the reference's median of each round, the ratio of its two medians, and the other load."""
    relative = np.asarray(reference_ms) / np.median(reference_ms)
    slow = int((relative > SLOW).sum())
    busy = busy_by(load)
    if slow > SLOW_SHARE * len(relative):
        busy.append(f"{slow} of {len(relative)} rounds were slow")
    if twin_ratio_ci95 is not None and abs(twin_ratio - 1) > TWINS_DIFFER:
        low, high = twin_ratio_ci95
        if not low <= 1 <= high:
            busy.append(f"{reference} measured twice differs by {abs(twin_ratio - 1):.1%}")
    return Conditions(
        reference=reference,
        twin_ratio=twin_ratio,
        twin_ratio_ci95=twin_ratio_ci95,
        reference_spread=float(np.percentile(relative, 90)),
        slow_rounds=slow,
        rounds=len(relative),
        others_cores=None if load is None else load.others_cores,
        steal_share=None if load is None else load.steal_share,
        busy=tuple(busy),
    )


def busy_by(load: OtherLoad | None) -> list[str]:
    """Reasons in the other load why the machine counts as busy."""
    busy = []
    if load is not None and load.others_cores is not None and load.others_cores > OTHERS_SHARE * load.cores:
        busy.append(f"other processes used {load.others_cores:.1f} of {load.cores} cores")
    if load is not None and load.steal_share is not None and load.steal_share > STEAL_SHARE:
        busy.append(f"other virtual machines took {load.steal_share:.0%} of the processor time")
    return busy
