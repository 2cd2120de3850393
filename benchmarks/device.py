"""The interface of a device: it describes itself and opens exported files.

`devices.py` has the table of all kinds of devices and their settings. Shared by all devices: rounds, order and
intervals (`latency.py`), and accuracy (`accuracy.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.files import ExportedFile

ROUNDS = 30
"""Number of rounds in which the files of a measurement are interleaved."""
MAX_SECONDS = 300.0
"""Time after which the rounds are stopped early."""


class Unavailable(RuntimeError):
    """The device cannot run the format. The message states reason and remedy; the file is not at fault."""


class SessionFailed(RuntimeError):
    """The runtime refused the file, crashed or timed out. The message names the file and the command."""


@dataclass(frozen=True, kw_only=True)
class CoreCluster:
    """Cores of equal kind and maximum clock; None where the system does not report it."""

    cpus: str
    """Their numbers, such as `4-7`."""
    core: str | None
    """Such as `Cortex-A76`."""
    max_mhz: float | None


@dataclass(frozen=True, kw_only=True)
class Description:
    """Properties of a device that affect its figures; None if the system does not report one."""

    name: str
    """The device's name in figures, files and gates."""
    cpu: str
    cores: int
    """Number of cores available to a process."""
    memory_bytes: int | None
    system: str
    governor: str | None
    """Clock frequency governor, e.g. `performance`."""
    int8_instructions: tuple[str, ...]
    """Instruction-set extensions of the CPU that accelerate int8."""
    load_1min: float | None
    """Load average of the last minute, before the measurement."""
    clusters: tuple[CoreCluster, ...] = ()
    """Empty if the system reports neither kinds of cores nor clocks."""
    cpus: str | None = None
    """Numbers of the cores that files are bound to, such as `4-7`; None if they are not bound."""
    clock_mhz: float | None = None
    """Current clock, the highest of the cores that files run on."""
    temperature_c: float | None = None
    """Temperature of the processor."""
    notes: tuple[str, ...] = ()
    """Notes on every figure of the device."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of the process that runs a file.

    `peak_rss_bytes` is the peak resident set of the process (Linux: `VmHWM`; elsewhere `ru_maxrss`): Python, NumPy,
    the runtime library (for ExecuTorch's Python binding that includes torch), weights and activations of the file,
    including pages shared with other processes. `model_rss_bytes` is the increase of the peak since just before the
    file was loaded. None where the device does not report it.
    """

    peak_rss_bytes: int | None
    model_rss_bytes: int | None


class Session(Protocol):
    """One exported file, opened on a device. Use it in a `with` block, which closes it.

    Every method raises `SessionFailed` when the runtime raises, the process dies or a time limit is exceeded, and
    `Unavailable` when the device is lost; the session cannot be used afterwards.
    """

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the figures so far."""

    def __enter__(self) -> Self:
        """Enters the session; nothing is loaded yet."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends the process that runs the file."""

    def load(self, *, threads: int) -> str:
        """Loads the file; returns name and version of the runtime. Raises `Unavailable` also for a format that
        the device cannot run."""

    def hold(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Stores the canonical inputs (`1 ...`) of one clip by name for `time_runs`."""

    def time_runs(self, count: int) -> np.ndarray:
        """Times `count` inferences on the stored inputs in nanoseconds, after one warm-up."""

    def memory(self) -> Memory:
        """Memory of the process so far."""

    def begin_infer(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Starts inference on canonical inputs of N clips by name, without waiting, so that sessions can run in
        parallel. Also raises `Unavailable` if the device gives no logits."""

    def end_infer(self) -> list[np.ndarray]:
        """Logits `N K` of `begin_infer`, float32, one array per output of the file."""


class Device(Protocol):
    """A device that runs exported files. Use it in a `with` block: entering connects, leaving disconnects.

    Every method raises `Unavailable` if the device cannot be reached, is lost, or lacks something; the message
    states the reason and the remedy.
    """

    @property
    def name(self) -> str:
        """Name in figures, files and gates."""

    def __enter__(self) -> Self:
        """Connects."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Disconnects; sessions that are still open end."""

    def describe(self) -> Description:
        """Properties of the device at this moment."""

    def open(self, file: ExportedFile) -> Session:
        """A session of the file; nothing is loaded yet."""
