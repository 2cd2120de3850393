"""Runs jobs in worker processes, so that a crash or a hang loses one job and not the program.

A worker is a new `python` process that imports only what its jobs need, not the main program.
Worker and program exchange pickles through pipes; a worker ends when its pipe is closed.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue, SimpleQueue
from threading import Thread
from types import ModuleType
from typing import Any, BinaryIO

from compress.command.lifetime import end_with_parent

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None

Alive = Callable[[], None]
Work = Callable[[Any, Alive], Iterator[Any]]
"""A module-level function that yields the results of one job and calls `alive` regularly."""

_SIGN_OF_LIFE_S = 1.0
_CPU_USED_UP = "it exceeded its processor time (limit max_cpu_s)"

_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Done:
    """Follows the last result of a job."""


@dataclass(frozen=True, kw_only=True)
class Lost:
    """Replaces `Done`: the worker died, or was killed because it gave no sign of life."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class _Raised:
    error: Exception


def run_jobs(
    work: Work,
    jobs: Sequence[Any],
    *,
    workers: int,
    silence_limit_s: float = 120.0,
    waiting_results: int = 64,
    memory_mib: int | None = None,
) -> Generator[tuple[int, Any]]:
    """Yields (number of the job, result) as results arrive; those of one job in order, ending with `Done` or
    `Lost`.

    A job is lost when its worker dies or gives no sign of life for `silence_limit_s`; the others continue. An
    exception in a job is raised here. `memory_mib` limits the address space of a worker. Workers pause while
    `waiting_results` results are in the queue, which bounds the memory of this process. `workers=0` runs the jobs
    sequentially in this process, without protection against crashes, hangs and lack of memory.
    """
    if workers == 0:
        for number, job in enumerate(jobs):
            for result in work(job, lambda: None):
                yield number, result
            yield number, Done()
        return
    todo: SimpleQueue[tuple[int, Any]] = SimpleQueue()
    for item in enumerate(jobs):
        todo.put(item)
    came: Queue[tuple[int, Any]] = Queue(waiting_results)
    crew = [_Worker(work, todo, came, silence_limit_s, memory_mib) for _ in range(min(workers, len(jobs)))]
    open_jobs = len(jobs)
    try:
        while open_jobs:
            try:
                number, result = came.get(timeout=_SIGN_OF_LIFE_S)
            except Empty:
                for worker in crew:
                    worker.stop_if_silent()
                continue
            if isinstance(result, _Raised):
                raise result.error
            open_jobs -= isinstance(result, Done | Lost)
            yield number, result
    finally:
        for worker in crew:
            worker.dismiss()
        while any(worker.thread.is_alive() for worker in crew):
            with suppress(Empty):
                came.get(timeout=0.01)  # a thread may be waiting for space


class _Worker:
    """A thread that sends jobs to a process and restarts the process when it is lost."""

    def __init__(
        self,
        work: Work,
        todo: SimpleQueue[tuple[int, Any]],
        came: Queue[tuple[int, Any]],
        silence_limit_s: float,
        memory_mib: int | None,
    ) -> None:
        self._work = work
        self._todo = todo
        self._came = came
        self._silence_limit_s = silence_limit_s
        self._memory_mib = memory_mib
        self._listening_since_s: float | None = None
        self._stopped = self._dismissed = False
        self._process: subprocess.Popen[bytes] | None = None
        self.thread = Thread(target=self._serve_jobs, daemon=True)
        self.thread.start()

    def stop_if_silent(self) -> None:
        """Kills the process when it gave no sign of life for too long."""
        since_s = self._listening_since_s
        if since_s is not None and time.monotonic() - since_s > self._silence_limit_s and self._process:
            self._stopped = True
            self._process.kill()

    def dismiss(self) -> None:
        """Ends the process and the thread."""
        self._dismissed = True
        if self._process:
            self._process.kill()

    def _serve_jobs(self) -> None:
        try:
            while not self._dismissed:
                try:
                    number, job = self._todo.get_nowait()
                except Empty:
                    return
                for result in self._results(job):
                    self._came.put((number, result))
        finally:
            self._end()

    def _results(self, job: Any) -> Iterator[Any]:
        if self._process is None:
            self._process = _start(self._memory_mib)
        try:
            assert self._process.stdin and self._process.stdout
            pickle.dump((self._work, job), self._process.stdin)
            self._process.stdin.flush()
            result = None
            while not isinstance(result, Done | _Raised):
                self._listening_since_s = time.monotonic()
                result = pickle.load(self._process.stdout)
                self._listening_since_s = None
                if result is not None:
                    yield result
        except (EOFError, OSError, pickle.UnpicklingError):
            self._listening_since_s = None
            yield Lost(reason=self._end())

    def _end(self) -> str:
        """Ends the process; returns how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "it was not running"
        assert process.stdin and process.stdout
        with suppress(OSError):
            process.stdin.close()
        try:
            code = process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        process.stdout.close()
        if self._stopped:
            self._stopped = False
            return f"no sign of life for {self._silence_limit_s:g} s"
        if code == -getattr(signal, "SIGXCPU", 0):
            return _CPU_USED_UP
        return f"the process died ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"


def _start(memory_mib: int | None) -> subprocess.Popen[bytes]:
    # The project first: a folder that the user added to the path may also contain `models`.
    paths = os.pathsep.join(os.path.abspath(path) for path in (str(_PROJECT), *sys.path))  # noqa: PTH100
    return subprocess.Popen(
        [sys.executable, "-P", "-c", f"from benchmarks.clips.processes import serve; serve({memory_mib})"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


def end_after_cpu_s(seconds: float) -> None:
    """Limits the further processor time of this process; no effect outside workers."""
    if not _Serving.here or resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit_s = math.ceil(used.ru_utime + used.ru_stime + seconds)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit_s if most < 0 else min(limit_s, most), most))


class _Serving:
    here = False
    """Whether this process is a worker."""


def serve(memory_mib: int | None) -> None:
    """Main loop of a worker process: reads jobs from stdin and writes results to stdout until the pipe is
    closed."""
    end_with_parent(os.getppid())  # even while it decodes
    _Serving.here = True
    if memory_mib is not None and resource is not None:
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        wanted = memory_mib * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (wanted if most < 0 else min(wanted, most), most))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the program, which ends its workers
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries must not corrupt the pickles
    with suppress(BrokenPipeError):
        while True:
            try:
                work, job = pickle.load(sys.stdin.buffer)
            except EOFError:
                break
            _serve_one(work, job, sink)


def _serve_one(work: Work, job: Any, sink: BinaryIO) -> None:
    sent_s = time.monotonic()

    def send(message: Any) -> None:
        nonlocal sent_s
        sent_s = time.monotonic()
        sink.write(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))
        sink.flush()

    def alive() -> None:
        if time.monotonic() - sent_s > _SIGN_OF_LIFE_S:
            send(None)

    try:
        for result in work(job, alive):
            send(result)
    except BrokenPipeError:
        raise
    except Exception as error:
        send(_Raised(error=error if _travels(error) else RuntimeError(f"{type(error).__name__}: {error}")))
    else:
        send(Done())


def _travels(error: Exception) -> bool:
    """Whether an exception can be pickled and restored."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
