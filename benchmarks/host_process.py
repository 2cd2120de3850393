"""Runs one runtime in a separate process, which isolates crashes, leaks and thread pools.

`Worker` is the parent's handle; `python -m benchmarks.host_process FD` is the process that it starts. They exchange
(command, argument) and (outcome, value) over a pipe. The process imports only NumPy and its runtime, so that its
peak memory is that of the runtime and the file. Linux and macOS.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from benchmarks.any_file import READ_ONLY, Interface, Opened, open_any
from benchmarks.cold_start import ColdStart
from benchmarks.device import Memory, SessionFailed, Unavailable
from benchmarks.files import ExportedFile
from benchmarks.runtimes import PEERS, RUNTIMES, Run, Runtime
from compress.command.lifetime import end_with_parent, lasting_parent, signal_name

_LOAD_LIMIT_S = 180.0
_REPLY_LIMIT_S = 600.0
_QUIT_LIMIT_S = 5.0
_LAST_WORDS_LINES = 3


class Worker:
    """The `Session` of this machine: a process that ends with its `with` block or with its parent."""

    def __init__(self, file: ExportedFile) -> None:
        self._file = file
        self._command = ""
        self._limit_s = _REPLY_LIMIT_S
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in `__exit__`)
        self._pipe, theirs = Pipe()
        root = str(Path(__file__).resolve().parents[1])
        search_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "benchmarks.host_process",
                str(theirs.fileno()),
                str(lasting_parent()),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": search_path},
        )
        theirs.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends the process; kills it if it does not end, or at once if the program was interrupted."""
        self._pipe.close()
        if kind is not None and not issubclass(kind, Exception):
            self._process.kill()
        try:
            self._process.wait(_QUIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._kill()
        self._log.close()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def load(self, *, threads: int, limit_s: float = _LOAD_LIMIT_S) -> str:
        """Loads the file; returns name and version of the runtime. Also raises `Unavailable`."""
        self._send("load", (self._file, threads), limit_s=limit_s)
        return self._receive()

    def open(self, *, threads: int, limit_s: float = _LOAD_LIMIT_S) -> Interface:
        """Opens a file without a manifest (`any_file`) for `run`. Also raises `Unavailable`."""
        self._send("open", (self._file, threads), limit_s=limit_s)
        return self._receive()

    def run(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Real values of all inputs of an opened file to those of all outputs, in the order of the file."""
        self._send("run", list(values))
        return self._receive()

    def hold(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Sends the canonical inputs (`1 ...`) of one clip by name for `time_runs`."""
        self._send("hold", dict(inputs))
        self._receive()

    def time_runs(self, count: int, *, limit_s: float = _REPLY_LIMIT_S) -> np.ndarray:
        """Times `count` inferences on the stored inputs in nanoseconds, after one warm-up."""
        self._send("time_runs", count, limit_s=limit_s)
        return self._receive()

    def memory(self) -> Memory:
        """Memory of the process so far."""
        self._send("memory", None)
        return self._receive()

    def cold_start(self) -> ColdStart:
        """Time of the load and of the first inference of `time_runs`."""
        self._send("cold_start", None)
        return self._receive()

    def begin_infer(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Sends canonical inputs of N clips by name, without waiting, so that workers can run in parallel."""
        self._send("infer", dict(inputs))

    def end_infer(self) -> list[np.ndarray]:
        """Logits `N K` of `begin_infer`, float32, one array per output of the file."""
        return self._receive()

    def _send(self, command: str, argument: object, *, limit_s: float = _REPLY_LIMIT_S) -> None:
        self._command, self._limit_s = command, limit_s
        try:
            self._pipe.send((command, argument))
        except OSError as error:
            raise self._death() from error

    def _receive(self) -> Any:
        try:
            if not self._pipe.poll(self._limit_s):
                self._kill()
                raise self._failure(
                    f"did not respond to {self._command!r} within {self._limit_s:g} s and was killed"
                )
            outcome, value = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise self._death() from error
        if outcome == "unavailable":
            raise Unavailable(value)
        if outcome == "failed":
            raise self._failure(f"failed in {self._command!r}: {value}")
        return value

    def _death(self) -> SessionFailed:
        try:
            code = self._process.wait(_QUIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._kill()
            return self._failure(f"closed its pipe in {self._command!r}")
        how = f"exited with code {code}"
        if code < 0:
            how = f"was killed by {signal_name(-code)}"
        if code == -signal.SIGKILL:
            how += " (often: out of memory)"
        return self._failure(f"{how} in {self._command!r}{self._last_words()}")

    def _failure(self, what: str) -> SessionFailed:
        return SessionFailed(f"{self._file.title}: {_runtime(self._file).name} {what}")

    def _last_words(self) -> str:
        self._log.seek(0)
        text = self._log.read().decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"; last output: {' | '.join(lines[-_LAST_WORDS_LINES:])}" if lines else ""

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()


class _Served:
    """The worker side: one method per command."""

    def load(self, argument: tuple[ExportedFile, int]) -> str:
        file, threads = argument
        runtime = _runtime(file)
        name = runtime.start()
        self._file = file
        self._peak_before_bytes = _peak_rss_bytes()
        begin_ns = perf_counter_ns()
        self._run: Run = runtime.load(file, threads)
        self._load_ns, self._first_ns = perf_counter_ns() - begin_ns, 0
        return name

    def open(self, argument: tuple[ExportedFile, int]) -> Interface:
        file, threads = argument
        name = _runtime(file).start()
        self._opened: Opened = open_any(file, threads)
        return Interface(runtime=name, inputs=self._opened.inputs, outputs=self._opened.outputs)

    def run(self, values: list[np.ndarray]) -> list[np.ndarray]:
        return self._opened.run(values)

    def hold(self, inputs: dict[str, np.ndarray]) -> None:
        self._held = [tensor.arrange(inputs[tensor.name]) for tensor in self._file.inputs]

    def time_runs(self, count: int) -> np.ndarray:
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

    def infer(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
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

    def cold_start(self, _: None) -> ColdStart:
        if not self._first_ns:
            raise ValueError("the file has not been timed yet")
        return ColdStart(load_ms=self._load_ns / 1e6, first_ms=self._first_ns / 1e6)

    def memory(self, _: None) -> Memory:
        peak_bytes = _peak_rss_bytes()
        return Memory(peak_rss_bytes=peak_bytes, model_rss_bytes=peak_bytes - self._peak_before_bytes)


def _runtime(file: ExportedFile) -> Runtime:
    return (RUNTIMES | PEERS | READ_ONLY)[file.format]


def _peak_rss_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`: on Linux it is inherited from the parent process.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _serve(pipe: Connection) -> None:
    served = _Served()
    while True:
        try:
            command, argument = pipe.recv()
        except EOFError:
            return
        try:
            reply = ("ok", getattr(served, command)(argument))
        except Unavailable as error:
            reply = ("unavailable", str(error))
        except Exception as error:
            reply = ("failed", f"{type(error).__name__}: {error}")
        try:
            pipe.send(reply)
        except BrokenPipeError:
            return


if __name__ == "__main__":
    if int(sys.argv[2]):
        end_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the program, which ends its workers
    # Replies are pickled by class name, which must be that of the parent.
    from benchmarks import host_process as worker

    worker._serve(Connection(int(sys.argv[1])))
