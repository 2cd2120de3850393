"""One file in the rounds of a measurement: its processes, its turns, and what they gave."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np

from benchmarks.cold_start import ColdStart, TimesColdStart
from benchmarks.device import Device, Memory, Session, SessionFailed, Unavailable
from benchmarks.energy import Meter
from benchmarks.files import ExportedFile
from benchmarks.steady import inferences_in, warm_up

TURN_S = 0.1
"""Approximate time of a turn."""
_MOST_INFERENCES = 200
_SETTLE_S = 0.05
"""Pause before each turn with several threads: those of ONNX Runtime spin for about 30 ms after an inference and
would slow down the next file."""


class Turns:
    """Runs one file on a device: `begin` opens a new process; turns and `end` follow; then all again."""

    _session: Session
    _of_device: tuple[str, ...]

    def __init__(
        self, file: ExportedFile, *, device: Device, threads: int, meter: Meter | None = None
    ) -> None:
        self.file, self.device, self.threads, self.meter = file, device, threads, meter
        self.unavailable = file.missing
        """Reason why the file cannot be measured any more."""
        self.failed = False
        self.runtime: str | None = None
        self.rounds_ns: list[np.ndarray] = []
        """Elapsed times of each turn."""
        self.starts: list[int] = []
        """Number of the process of each turn, from 0."""
        self.positions: list[int] = []
        """Position of each turn in its round, from 0."""
        self.joules: list[float] = []
        """Energy of an inference in each turn; empty without a meter."""
        self.unsteady = 0
        """Number of processes in which the file did not become steady."""
        self.cold_starts: list[ColdStart] = []
        self.memories: list[Memory] = []
        self.notes: tuple[str, ...] = ()
        """Notes of the device, and of the last process."""
        self._started = 0
        self._inferences: int | None = None

    @property
    def runs(self) -> bool:
        """Whether the file can still be measured."""
        return self.unavailable is None

    @property
    def timed_s(self) -> float:
        """Sum of all elapsed times."""
        return sum(float(elapsed_ns.sum()) for elapsed_ns in self.rounds_ns) / 1e9

    @property
    def inferences(self) -> int:
        """Number of timed inferences."""
        return sum(len(elapsed_ns) for elapsed_ns in self.rounds_ns)

    def again(self) -> Turns:
        """Turns of the same file in processes of its own."""
        return Turns(self.file, device=self.device, threads=self.threads, meter=self.meter)

    def begin(self, inputs: Mapping[str, np.ndarray], *, sessions: ExitStack) -> None:
        """Loads the file in a new process and warms it up; the first time it sets the inferences of a turn."""
        if not self.runs:
            return
        self._started += 1
        try:
            self._session = sessions.enter_context(self.device.open(self.file))
            self.runtime = self._session.load(threads=self.threads)
            self._session.hold(inputs)
            warm = warm_up(self._session)
            if self._inferences is None:
                self._of_device = self.device.describe().notes
        except (Unavailable, SessionFailed) as error:
            self._give_up(error)
            return
        self.unsteady += not warm.steady
        if self._inferences is None:
            self._inferences = inferences_in(TURN_S, latency_s=warm.latency_s, most=_MOST_INFERENCES)

    def turn(self, position: int) -> None:
        """Times one turn at position `position` of its round."""
        assert self._inferences is not None
        if self.threads > 1:
            time.sleep(_SETTLE_S)
        before_j = 0.0 if self.meter is None else self.meter.joules()
        try:
            self.rounds_ns.append(self._session.time_runs(self._inferences))
        except (Unavailable, SessionFailed) as error:
            self._give_up(error)
            return
        if self.meter is not None:
            # `time_runs` has an untimed run before the timed ones.
            self.joules.append((self.meter.joules() - before_j) / (self._inferences + 1))
        self.starts.append(self._started - 1)
        self.positions.append(position)

    def end(self) -> None:
        """Reads the memory and the cold start of the process, after all its inferences."""
        if not self.runs:
            return
        try:
            self.memories.append(self._session.memory())
            if isinstance(self._session, TimesColdStart):
                self.cold_starts.append(self._session.cold_start())
            self.notes = self._of_device + self._session.notes
        except (Unavailable, SessionFailed) as error:
            self._give_up(error)

    def _give_up(self, error: Unavailable | SessionFailed) -> None:
        self.unavailable, self.failed = str(error), isinstance(error, SessionFailed)
