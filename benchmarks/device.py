"""What a device is: it says what it is, and opens exported files for running.

Everything else is shared by all devices: rounds, order and intervals (`latency.py`), accuracy (`accuracy.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.files import ExportedFile

ROUNDS = 30
"""How often the files of a measurement take turns."""
MAX_SECONDS = 300.0
"""After how long the rounds end early."""


class Unavailable(RuntimeError):
    """The device cannot run the format; says why and what to do. Nothing is wrong with the file."""


class SessionFailed(RuntimeError):
    """The runtime refused the file, died or took too long; says which file, when and how."""


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
class Memory:
    """Memory of the process that runs a file.

    `peak_rss_bytes` is the largest resident set since the process began (Linux: `VmHWM`; elsewhere
    `ru_maxrss`): Python, NumPy, the runtime's library (for ExecuTorch's Python binding that includes torch),
    the file's weights and its activations, pages shared with other processes included. `model_rss_bytes` is
    the part by which the peak rose from just before the file was loaded.
    """

    peak_rss_bytes: int
    model_rss_bytes: int


class Session(Protocol):
    """One exported file, opened on a device. Used in a `with` block, which ends it.

    Every method raises `SessionFailed` when the runtime raises, the process dies or a time limit passes; after
    that the session is of no more use.
    """

    def __enter__(self) -> Self:
        """Nothing is loaded yet."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends whatever runs the file."""

    def load(self, *, threads: int) -> str:
        """Loads the file; gives name and version of the runtime. Raises `Unavailable` too."""

    def hold(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Takes one clip's canonical inputs (`1 ...`) by name, for `time_runs` to run on."""

    def time_runs(self, count: int) -> np.ndarray:
        """Nanoseconds of each of `count` inferences on the held inputs, after one that is not timed."""

    def memory(self) -> Memory:
        """Memory of the process up to now."""

    def begin_infer(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Takes canonical inputs of N clips by name without waiting, so that several sessions can run at once."""

    def end_infer(self) -> list[np.ndarray]:
        """Logits `N K`, float32, one array per output of the file, for what `begin_infer` took."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One row of `DEVICES`."""

    describe: Callable[[], Description]
    open: Callable[[ExportedFile], Session]
