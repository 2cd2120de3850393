"""Wall time and processor time of a stage, and whether other programs took processors from it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

LEAST_S = 10.0
"""A stage shorter than this is not judged: starting and reading files are much of its time."""
_AVERAGED_S = 60.0
"""Over what the load average is an average: before that it tells of what went before."""
_SHORT_OF = 0.75
"""Processor time below this part of wall time times threads is short of it."""
_SPARE_CORES = 0.5
"""Other work that two programs which fit the machine may be over its cores, as averages vary."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a piece of work took."""

    seconds: float
    cpu_seconds: float
    """Of this process and of the children that it waited for."""
    busy: str | None
    """A sentence if the machine was busy with something else, so that the times say less; else `None`."""


class Clock:
    """Measures from its making on."""

    def __init__(self) -> None:
        self._began_s, self._began_cpu_s = time.monotonic(), _cpu_s()

    def taken(self, *, threads: int, on_cpu: bool = True) -> Taken:
        """What the work took; `threads` are those of torch, and `on_cpu` says whether networks ran on them."""
        seconds = time.monotonic() - self._began_s
        cpu_s = _cpu_s() - self._began_cpu_s
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        note = busy(
            seconds=seconds, cpu_seconds=cpu_s, threads=threads if on_cpu else 0, load_1min=load, cores=cores
        )
        return Taken(seconds=seconds, cpu_seconds=cpu_s, busy=note)


def busy(*, seconds: float, cpu_seconds: float, threads: int, load_1min: float, cores: int) -> str | None:
    """Says that the machine was busy with something else; `None` where nothing speaks for that.

    It was if others alone kept more than all cores busy, or if they and the `threads` together asked for more than
    all cores, and the threads got clearly less than a core each.
    """
    if seconds < LEAST_S:
        return None
    got = cpu_seconds / seconds
    others = max(0.0, load_1min - got)
    crowded = seconds >= _AVERAGED_S and others > cores
    short = got < _SHORT_OF * threads and others + threads > cores + _SPARE_CORES
    if not crowded and not short:
        return None
    return (
        f"the machine was busy: {got:.1f} cores for {threads or 1} thread{'s' * (threads > 1)}, "
        f"other work for {others:.1f} of {cores}; undisturbed it takes less time"
    )


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
