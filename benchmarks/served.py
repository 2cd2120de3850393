"""The commands of a process that runs one file: load, hold, time, infer, memory.

Used on this machine (`host_process`) and, copied, on boards (`ssh.board`). Imports only NumPy and the runtime of
the file, so that the peak memory of the process is that of the runtime and the file.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from benchmarks.cold_start import ColdStart
from benchmarks.device import Memory, Unavailable
from benchmarks.files import ExportedFile
from benchmarks.runtimes import PEERS, RUNTIMES, Run, Runtime


class Served:
    """One file in its runtime; one method per command. The methods raise what the runtime raises."""

    def load(self, file: ExportedFile, threads: int) -> str:
        """Loads the file; returns name and version of the runtime. Also raises `Unavailable`."""
        runtime = self.runtime(file)
        name = runtime.start()
        self._file = file
        self._peak_before_bytes = _peak_rss_bytes()
        begin_ns = perf_counter_ns()
        self._run: Run = runtime.load(file, threads)
        self._load_ns, self._first_ns = perf_counter_ns() - begin_ns, 0
        return name

    def hold(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Stores the canonical inputs (`1 ...`) of one clip by name for `time_runs`."""
        self._held = [tensor.arrange(inputs[tensor.name]) for tensor in self._file.inputs]

    def time_runs(self, count: int) -> np.ndarray:
        """Times `count` inferences on the stored inputs in nanoseconds, int64, after one warm-up."""
        run, held = self._run, self._held
        elapsed_ns = np.empty(count, dtype=np.int64)
        begin_ns = perf_counter_ns()
        run(held)
        self._first_ns = self._first_ns or perf_counter_ns() - begin_ns
        gc.disable()
        for index in range(count):
            begin_ns = perf_counter_ns()
            run(held)
            elapsed_ns[index] = perf_counter_ns() - begin_ns
        gc.enable()
        return elapsed_ns

    def infer(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Logits `N K` of canonical inputs of N clips by name, float32, one array per output of the file."""
        clips = len(next(iter(inputs.values())))
        logits = [np.empty((clips, tensor.shape[-1]), dtype=np.float32) for tensor in self._file.outputs]
        for clip in range(clips):
            arrays = [tensor.arrange(inputs[tensor.name][clip : clip + 1]) for tensor in self._file.inputs]
            for tensor, column, given in zip(self._file.outputs, logits, self._run(arrays), strict=True):
                if given.shape != tensor.shape:
                    raise ValueError(
                        f"manifest.json describes output {tensor.name!r} with shape {list(tensor.shape)}, "
                        f"but the file returns {list(given.shape)}; export again"
                    )
                column[clip] = given[0]
        return logits

    def cold_start(self) -> ColdStart:
        """Time of the load and of the first inference. Raises ValueError before the first `time_runs`."""
        if not self._first_ns:
            raise ValueError("the file has not been timed yet")
        return ColdStart(load_ms=self._load_ns / 1e6, first_ms=self._first_ns / 1e6)

    def memory(self) -> Memory:
        """Memory of this process so far."""
        peak_bytes = _peak_rss_bytes()
        return Memory(peak_rss_bytes=peak_bytes, model_rss_bytes=peak_bytes - self._peak_before_bytes)

    def runtime(self, file: ExportedFile) -> Runtime:
        """The runtime of a file."""
        return (RUNTIMES | PEERS)[file.format]


def answer(served: object, command: str, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    """Calls the method `command`: `("ok", value)`, `("unavailable", reason)` or `("failed", reason)`."""
    try:
        return "ok", getattr(served, command)(*arguments)
    except Unavailable as error:
        return "unavailable", str(error)
    except Exception as error:
        return "failed", f"{type(error).__name__}: {error}"


def _peak_rss_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`: on Linux it is inherited from the parent process.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
