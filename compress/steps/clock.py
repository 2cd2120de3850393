"""Wall time and processor time of a stage, and whether other programs slowed it down."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

LEAST_S = 10.0
"""Shorter stages are not checked: startup and file access dominate their time."""
_AVERAGED_S = 60.0
"""Period of the load average; earlier values include previous work."""
_SHORT_OF = 0.75
"""Fraction of wall time times threads below which processor time is too low."""
_SPARE_CORES = 0.5
"""Tolerance of the load of other programs above the number of cores, because averages vary."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Time taken by some work."""

    seconds: float
    cpu_seconds: float
    """Processor time of this process and of its completed children."""
    busy: str | None
    """Message if other programs loaded the machine, so that the times are less meaningful; else `None`."""


class Clock:
    """A clock that starts when it is created."""

    def __init__(self) -> None:
        self._began_s, self._began_cpu_s = time.monotonic(), _cpu_s()

    def taken(self, *, threads: int, on_cpu: bool = True) -> Taken:
        """The time taken; `threads` is the number of torch threads, `on_cpu` whether networks ran on them."""
        seconds = time.monotonic() - self._began_s
        cpu_s = _cpu_s() - self._began_cpu_s
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        note = busy(
            seconds=seconds, cpu_seconds=cpu_s, threads=threads if on_cpu else 0, load_1min=load, cores=cores
        )
        return Taken(seconds=seconds, cpu_seconds=cpu_s, busy=note)


def busy(*, seconds: float, cpu_seconds: float, threads: int, load_1min: float, cores: int) -> str | None:
    """Message if other programs loaded the machine; `None` without evidence for that.

    This is the case if other programs alone used more than all cores, or if they and the `threads` together needed
    more than all cores and the threads got clearly less than a core each.
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
