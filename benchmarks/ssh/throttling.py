"""Finds throttling in the clocks that a board had while a file ran."""

from __future__ import annotations

from statistics import median

THROTTLED_SHARE = 0.15
"""A larger drop of the clock is throttling."""
_FEWEST_READINGS = 3


class Clocks:
    """Clock and temperature after each turn of a file."""

    def __init__(self) -> None:
        self._clocks_mhz: list[float] = []
        self._temperatures_c: list[float] = []

    def add(self, *, clock_mhz: float | None, temperature_c: float | None) -> None:
        """Adds a reading; None where the system reports none."""
        if clock_mhz is not None:
            self._clocks_mhz.append(clock_mhz)
        if temperature_c is not None:
            self._temperatures_c.append(temperature_c)

    def notes(self) -> tuple[str, ...]:
        """Clock and temperature of the first and the last third of the turns, and whether that is throttling.

        Empty with fewer than three turns, or if the system reports neither.
        """
        parts = []
        if len(self._clocks_mhz) >= _FEWEST_READINGS:
            first_mhz, last_mhz = _ends(self._clocks_mhz)
            if last_mhz < (1 - THROTTLED_SHARE) * first_mhz:
                parts.append(f"throttled (cool the board and measure again): {last_mhz / first_mhz - 1:.0%}")
            parts.append(f"clock {first_mhz:.0f} to {last_mhz:.0f} MHz")
        if len(self._temperatures_c) >= _FEWEST_READINGS:
            first_c, last_c = _ends(self._temperatures_c)
            parts.append(f"{first_c:.0f} to {last_c:.0f} °C")
        return (", ".join(parts),) if parts else ()


def _ends(readings: list[float]) -> tuple[float, float]:
    """Medians of the first and the last third."""
    third = len(readings) // 3
    return median(readings[:third]), median(readings[-third:])
