"""The thermal state of a phone, and the wait until it has cooled.

`dumpsys thermalservice` (Android 10 and later) prints the system's throttling status, 0 to 6, and the temperatures
of its sensors. Some phones throttle on the skin sensor and leave the system's status at 0, so the status of the
skin sensor counts as well; cached readings do not. Names of the levels: `PowerManager.THERMAL_STATUS_*`,
https://developer.android.com/reference/android/os/PowerManager#THERMAL_STATUS_NONE
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from benchmarks.adb.client import Adb
from benchmarks.device import Unavailable

LEVELS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_EMERGENCY = LEVELS.index("emergency")
_SKIN = 3
"""`Temperature.TYPE_SKIN`."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0


@dataclass(frozen=True)
class Thermal:
    """Throttling status (an index into `LEVELS`) and temperature of the skin sensor in degrees Celsius."""

    status: int
    skin_c: float | None

    def __str__(self) -> str:
        level = f"{LEVELS[self.status]} ({self.status})"
        return level if self.skin_c is None else f"{level}, skin {self.skin_c:g} °C"


def parse_thermal(dump: str) -> Thermal | None:
    """The state in the output of `dumpsys thermalservice`; None if it has no valid status."""
    found = re.search(r"^Thermal Status: (\d)\s*$", dump, re.MULTILINE)
    if found is None or int(found[1]) >= len(LEVELS):
        return None
    status, skin_c = int(found[1]), None
    current = dump.partition("Current temperatures from HAL:")[2]
    for line in current.splitlines()[1:]:
        sensor = re.match(r"\s*Temperature\{mValue=([-\d.]+), mType=(\d+), .*mStatus=(\d)\}", line)
        if sensor is None:
            break
        if int(sensor[2]) == _SKIN:
            degrees = float(sensor[1])
            skin_c = degrees if skin_c is None else max(skin_c, degrees)
            status = max(status, min(int(sensor[3]), len(LEVELS) - 1))
    return Thermal(status, skin_c)


class Cooling:
    """Waits before each turn until the phone throttles no more than `limit`, for `budget_s` in total.

    Once the budget is spent, turns go on at once on the hot phone, and `notes` tells it. At `emergency` or
    `shutdown` nothing is run: `wait` raises `Unavailable`.
    """

    def __init__(self, adb: Adb, *, limit: int, budget_s: float) -> None:
        self._adb = adb
        self._limit = limit
        self._left_s = self._budget_s = budget_s
        self._known = True
        self._turns = self._hot_turns = 0
        self._hottest: Thermal | None = None

    def read(self) -> Thermal | None:
        """The state now; None if the phone does not report one."""
        return parse_thermal(self._adb.shell("dumpsys thermalservice").text)

    def wait(self) -> None:
        """Waits until the phone is cool or the budget is spent; counts the turn."""
        pause_s = _FIRST_PAUSE_S
        while True:
            state = self.read()
            if state is None or state.status <= self._limit or self._left_s <= 0:
                break
            pause_s = min(pause_s, self._left_s)
            time.sleep(pause_s)
            self._left_s -= pause_s
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        self._count(state)

    def notes(self) -> tuple[str, ...]:
        """What the thermal state means for the figures so far."""
        if not self._known:
            return (
                "the phone does not report its thermal state (`dumpsys thermalservice`); it may be throttled",
            )
        notes: tuple[str, ...] = ()
        waited_s = self._budget_s - self._left_s
        if waited_s > 0:
            notes += (f"waited {waited_s:.3g} s in total for the phone to cool",)
        if self._hot_turns:
            notes += (
                f"{self._hot_turns} of {self._turns} runs began at thermal status {self._hottest}, above the limit "
                f"{LEVELS[self._limit]} ({self._limit}), because the phone did not cool within "
                f"{self._budget_s:g} s: the figures are those of a throttled phone; cool it, or raise `cooling_s`",
            )
        return notes

    def _count(self, state: Thermal | None) -> None:
        self._turns += 1
        self._known = state is not None
        if state is None:
            return
        if state.status >= _EMERGENCY:
            raise Unavailable(
                f"{self._adb}: its thermal status is {state}: it is about to switch off; let it cool and measure "
                "again"
            )
        if state.status > self._limit:
            self._hot_turns += 1
            if self._hottest is None or state.status > self._hottest.status:
                self._hottest = state
