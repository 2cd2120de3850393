"""A device with a deterministic clock: its sessions return the times that a function gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from benchmarks.cold_start import ColdStart
from benchmarks.conditions import OtherLoad
from benchmarks.device import Description, Memory, SessionFailed
from benchmarks.files import ExportedFile

Clock = Callable[[str, int, int], float]
"""`clock(scheme, start, call)`: milliseconds of every inference in a call of `time_runs`; negative if it dies.
Starts and calls count from 0. The copies of a file share the count of its starts."""


def file(scheme: str, *, missing: str | None = None) -> ExportedFile:
    """A file that only has a name."""
    return ExportedFile(
        format="onnx",
        scheme=scheme,
        path=Path(f"onnx/{scheme}/model.onnx"),
        size_bytes=1,
        inputs=(),
        outputs=(),
        missing=missing,
    )


class ScriptedDevice:
    """A `Device` that has `load` beside the measured files, if that is given."""

    name = "scripted"

    def __init__(self, clock: Clock, *, load: OtherLoad | None = None) -> None:
        self.clock, self.opened = clock, []
        self._load = load

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def describe(self):
        return Description(
            name=self.name,
            cpu="scripted",
            cores=2,
            memory_bytes=2**30,
            system="none",
            governor=None,
            int8_instructions=(),
            load_1min=0.0,
        )

    def open(self, opened: ExportedFile):
        self.opened.append(opened.scheme)
        return ScriptedSession(opened, self.clock, start=self.opened.count(opened.scheme) - 1)

    def watch(self):
        return self

    def end(self):
        return self._load


class ScriptedSession:
    """A `Session` that also has a cold start."""

    notes = ()

    def __init__(self, opened: ExportedFile, clock: Clock, *, start: int) -> None:
        self._file, self._clock, self._start, self._call = opened, clock, start, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def load(self, *, threads: int) -> str:
        return "scripted 1"

    def hold(self, inputs: Mapping[str, np.ndarray]) -> None:
        pass

    def time_runs(self, count: int) -> np.ndarray:
        value_ms = self._clock(self._file.scheme, self._start, self._call)
        self._call += 1
        if value_ms < 0:
            raise SessionFailed(f"{self._file.title}: died")
        return np.full(count, round(value_ms * 1e6), dtype=np.int64)

    def memory(self) -> Memory:
        return Memory(peak_rss_bytes=1000 + self._start, model_rss_bytes=100 + self._start)

    def cold_start(self) -> ColdStart:
        return ColdStart(load_ms=10.0 + self._start, first_ms=2.0)
