"""What a device is: something that says what it is and measures exported files on itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from benchmarks.accuracy import FileAccuracy
    from benchmarks.clips.cache import ClipSet
    from benchmarks.latency import FileLatency, Progress


ROUNDS = 30
"""How often the files of a measurement take turns."""
MAX_SECONDS = 300.0
"""After how long the rounds end early."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a device is, as far as its figures depend on it; None = the system does not say."""

    name: str
    """The device's name in `DEVICES`."""
    cpu: str
    cores: int
    """Cores that a process may use."""
    memory_bytes: int
    system: str
    governor: str | None
    """Rule by which the clock frequency is chosen, e.g. `performance`."""
    int8_instructions: tuple[str, ...]
    """Instruction-set extensions of the CPU that speed up int8."""
    load_1min: float
    """Average number of running processes over the last minute: how busy the device was already."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Everything measured of one export on one device, files in the manifest's order."""

    device: Description
    latency: list[FileLatency]
    accuracy: list[FileAccuracy]
    """Empty when no clips were given."""


class Measure(Protocol):
    """Measures an export: latency always, accuracy when there are clips."""

    def __call__(
        self,
        export_dir: Path,
        *,
        clips: ClipSet | None = None,
        formats: Sequence[str] | None = None,
        threads: int = 1,
        rounds: int = ROUNDS,
        max_seconds: float = MAX_SECONDS,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Measurement:
        """Measures every file that can run; the others say why they cannot."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One row of `DEVICES`."""

    describe: Callable[[], Description]
    measure: Measure
