"""Runs one runtime in a separate process, which isolates crashes, leaks and thread pools.

`Worker` is the parent's handle; `python -m benchmarks.host_process FD` is the process that it starts. They exchange
(command, arguments...) and (outcome, value) over a pipe. `served` has the commands. Linux and macOS.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.any_file import READ_ONLY, Interface, Opened, open_any
from benchmarks.cold_start import ColdStart
from benchmarks.device import Memory, SessionFailed, Unavailable
from benchmarks.files import ExportedFile
from benchmarks.runtimes import PEERS, RUNTIMES, Runtime
from benchmarks.served import Served, answer
from compress.command.lifetime import end_with_parent, exit_of, lasting_parent

_LOAD_LIMIT_S = 180.0
_REPLY_LIMIT_S = 600.0
_QUIT_LIMIT_S = 5.0
_LAST_WORDS_LINES = 3


class Worker:
    """The `Session` of this machine: a process that ends with its `with` block or with its parent."""

    notes: tuple[str, ...] = ()

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
        self._send("load", self._file, threads, limit_s=limit_s)
        return self._receive()

    def open(self, *, threads: int, limit_s: float = _LOAD_LIMIT_S) -> Interface:
        """Opens a file without a manifest (`any_file`) for `run`. Also raises `Unavailable`."""
        self._send("open", self._file, threads, limit_s=limit_s)
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
        self._send("memory")
        return self._receive()

    def cold_start(self) -> ColdStart:
        """Time of the load and of the first inference of `time_runs`."""
        self._send("cold_start")
        return self._receive()

    def begin_infer(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Sends canonical inputs of N clips by name, without waiting, so that workers can run in parallel."""
        self._send("infer", dict(inputs))

    def end_infer(self) -> list[np.ndarray]:
        """Logits `N K` of `begin_infer`, float32, one array per output of the file."""
        return self._receive()

    def _send(self, command: str, *arguments: object, limit_s: float = _REPLY_LIMIT_S) -> None:
        self._command, self._limit_s = command, limit_s
        try:
            self._pipe.send((command, *arguments))
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
        return self._failure(f"{exit_of(code)} in {self._command!r}{self._last_words()}")

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


class _Served(Served):
    """The worker side: also opens files without a manifest."""

    def open(self, file: ExportedFile, threads: int) -> Interface:
        name = self.runtime(file).start()
        self._opened: Opened = open_any(file, threads)
        return Interface(runtime=name, inputs=self._opened.inputs, outputs=self._opened.outputs)

    def run(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        return self._opened.run(values)

    def runtime(self, file: ExportedFile) -> Runtime:
        return _runtime(file)


def _runtime(file: ExportedFile) -> Runtime:
    return (RUNTIMES | PEERS | READ_ONLY)[file.format]


def _serve(pipe: Connection) -> None:
    served = _Served()
    while True:
        try:
            command, *arguments = pipe.recv()
        except EOFError:
            return
        reply = answer(served, command, tuple(arguments))
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
