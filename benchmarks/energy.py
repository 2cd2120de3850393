"""The energy of inferences, on devices that meter it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from benchmarks.device import Unavailable

POWERCAP = Path("/sys/class/powercap")


class Meter(Protocol):
    """An energy meter of a device."""

    def joules(self) -> float:
        """Energy since the first call. Call it more often than every minute, since counters overflow."""


@runtime_checkable
class Metered(Protocol):
    """A `Device` that may have an energy meter. Others report no energy."""

    def meter(self) -> Meter:
        """The meter; raises `Unavailable` with the reason if there is none."""


class Rapl:
    """Energy of all processor packages of a Linux machine, by the counters of RAPL.

    They count the whole package: other programs and idle cores as well. Source: the kernel's documentation of the
    power capping framework, Documentation/power/powercap/powercap.rst.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        """Raises `Unavailable` if the machine has no counters or they cannot be read."""
        zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if zone.name.count(":") == 1]
        self._counters = [(zone / "energy_uj", _number(zone / "max_energy_range_uj")) for zone in zones]
        if not zones:
            raise Unavailable(
                f"energy: {root} has no intel-rapl zones; Linux on x86-64 has them, but not in virtual machines"
            )
        self._last_uj = [_number(path) for path, _ in self._counters]
        self._sum_uj = 0

    def joules(self) -> float:
        """Energy since the creation."""
        for index, (path, most_uj) in enumerate(self._counters):
            now_uj = _number(path)
            spent_uj = now_uj - self._last_uj[index]
            self._sum_uj += spent_uj if spent_uj >= 0 else spent_uj + most_uj
            self._last_uj[index] = now_uj
        return self._sum_uj / 1e6


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except PermissionError:
        raise Unavailable(f"energy: {path} cannot be read; allow it with: sudo chmod a+r {path}") from None
