"""Latency over time under sustained load: every file takes turns for minutes, while the device heats up.

Each file is loaded once. Since files share the device, all of them see the same temperature; their ranking in the
first and in the last minute shows whether a cool device chooses the right file.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.device import Device, Unavailable
from benchmarks.files import ExportedFile
from benchmarks.turns import Turns

THROTTLED = 0.85
"""The clock of a device counts as throttled below this share of its first value: a drop of more than 15 %."""


@dataclass(frozen=True, kw_only=True)
class Heat:
    """Temperature and clock of a device at one moment, as in its `Description`; None if it does not report it."""

    temperature_c: float | None
    clock_mhz: float | None


@dataclass(frozen=True, kw_only=True)
class Minute:
    """One minute of the measurement."""

    minute: int
    """From 0."""
    p50_ms: dict[str, float]
    """Median of every file that ran, by `format.scheme`."""
    heat: Heat
    """At the end of the minute."""

    @property
    def ranking(self) -> list[str]:
        """The files, fastest first."""
        return sorted(self.p50_ms, key=self.p50_ms.__getitem__)


@dataclass(frozen=True, kw_only=True)
class Sustained:
    """Latency over time of all files on one device."""

    device: str
    begin: Heat
    """Before the first minute, with all files loaded and warmed up."""
    minutes: tuple[Minute, ...]
    throttled: bool | None
    """Whether the clock fell by more than 15 %; None if it is not reported."""
    unavailable: dict[str, str]
    """Reasons of the files that stopped running, by `format.scheme`."""
    failed: bool = False
    """A file should have run on this device but was refused, crashed or timed out."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, with the ranking in the first and in the last minute."""
        ends = {"first": self.minutes[:1], "last": self.minutes[-1:]}
        rankings = {f"{name}_ranking": one.ranking for name, found in ends.items() for one in found}
        return asdict(self) | rankings


def measure_sustained(
    files: Sequence[ExportedFile],
    inputs: Mapping[str, np.ndarray],
    *,
    device: Device,
    minutes: int,
    threads: int = 1,
    seed: int = 0,
    now: Callable[[], float] = time.monotonic,
    progress: Callable[[str, int, int], None] | None = None,
) -> Sustained:
    """Latency of the files in every minute, without pauses, in rounds whose order `seed` determines.

    A round belongs to the minute in which it begins. Ends early when no file runs any more. Raises ValueError for
    fewer than two minutes.
    """
    if minutes < 2:
        raise ValueError(f"minutes is {minutes}: at least 2 are needed to compare the first with the last")
    order = random.Random(seed)
    turns = [Turns(file, device=device, threads=threads) for file in files]
    rounds_of_minute: list[dict[str, list[float]]] = [{} for _ in range(minutes)]
    heats: list[Heat] = []
    with ExitStack() as sessions:
        for one in turns:
            one.begin(inputs, sessions=sessions)
        begin_s, first = now(), _heat(device)
        while (minute := int((now() - begin_s) // 60)) < minutes and any(one.runs for one in turns):
            while len(heats) < minute:
                heats.append(_heat(device))
            running = [one for one in turns if one.runs]
            order.shuffle(running)
            for position, one in enumerate(running):
                one.turn(position)
                if one.runs:
                    p50_ms = float(np.median(one.rounds_ns[-1])) / 1e6
                    rounds_of_minute[minute].setdefault(str(one.file.id), []).append(p50_ms)
            if progress is not None:
                progress("sustained", minute, minutes)
        while len(heats) < minutes:
            heats.append(_heat(device))
    found = tuple(
        Minute(
            minute=number,
            p50_ms={name: float(np.median(values)) for name, values in rounds.items()},
            heat=heat,
        )
        for number, (rounds, heat) in enumerate(zip(rounds_of_minute, heats, strict=True))
        if rounds
    )
    return Sustained(
        device=device.name,
        begin=first,
        minutes=found,
        throttled=throttled([heat.clock_mhz for heat in (first, *(one.heat for one in found))]),
        unavailable={str(one.file.id): one.unavailable for one in turns if one.unavailable is not None},
        failed=any(one.failed for one in turns),
    )


def throttled(clocks_mhz: Sequence[float | None]) -> bool | None:
    """Whether a clock fell below `THROTTLED` of the first one; None if one is not known."""
    known = [clock for clock in clocks_mhz if clock is not None]
    if len(known) < len(clocks_mhz):
        return None
    return min(known) < THROTTLED * known[0]


def _heat(device: Device) -> Heat:
    try:
        now = device.describe()
    except Unavailable:  # the files, which are lost with the device, report the reason
        return Heat(temperature_c=None, clock_mhz=None)
    return Heat(temperature_c=now.temperature_c, clock_mhz=now.clock_mhz)
