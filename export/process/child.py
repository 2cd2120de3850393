"""Runs a function in a separate process, which contains its crashes, output and memory.

Importing a converter takes longer than most of its work. A helper (`export.process.converter`) that has imported it
stays alive for a while and forks a process for each task; where forking is not safe, it runs one task itself and
ends.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Timer
from typing import Any

from compress.command.lifetime import how_it_ended, lasting_parent
from compress.command.sentence import in_a_sentence as in_a_sentence

TASK_FILE, ENDED_FILE = "task.pickle", "ended.pickle"

_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Result of a task: the value that its function returned, or the reason why there is none."""

    value: Any
    reason: str | None
    peak_rss_bytes: int | None
    """Peak memory of the process; `None` if it crashed."""


class Stopped(BaseException):
    """A task that was ended, or not begun, because of `tasks_stopped`."""


def run_in_child(
    function: Callable[[Any], Any],
    argument: object,
    *,
    who: str,
    log: Path,
    time_limit_s: float,
    writer: str | None = None,
    only_at_hand: bool = False,
) -> Ended:
    """`function(argument)`, computed in a separate process, whose output is appended to the file `log`.

    `function` is a module-level function, found again by its name; `argument` and the result are pickled. An
    exception, a crash or a timeout becomes an `Ended` with a reason, in which `who` names the part that failed.
    `writer` names the module of a writer whose libraries the task needs: a helper imports them, unless one with
    these libraries exists. With `only_at_hand` no helper is started for it. Threads may run tasks side by side;
    raises `Stopped` in a thread whose task `tasks_stopped` has ended.
    """
    with tempfile.TemporaryDirectory(prefix="pocketreel-child-") as name:
        folder = Path(name)
        (folder / TASK_FILE).write_bytes(pickle.dumps((function, argument)))
        code = _exit_code(folder, log, time_limit_s=time_limit_s, writer=writer, only_at_hand=only_at_hand)
        if code is None:
            return _no_value(f"{who} had not ended after {time_limit_s:g} s")
        ended = folder / ENDED_FILE
        if code == 0 and ended.exists():
            result: Ended = pickle.loads(ended.read_bytes())
            return result
    return _no_value(f"{who} {how_it_ended(code)}")


def _exit_code(
    folder: Path, log: Path, *, time_limit_s: float, writer: str | None, only_at_hand: bool
) -> int | None:
    """Runs the task in `folder`; `None` after a timeout."""
    environment = _environment()
    task = {
        "folder": str(folder),
        "log": str(log.resolve()),
        "working_directory": str(Path.cwd()),
        "environment": environment,
    }
    with _lock:
        if only_at_hand and (writer, environment["PYTHONPATH"]) not in _idle:
            writer = None
        kind = (writer, environment["PYTHONPATH"])
        helper = _idle.pop(kind, None)
    if helper is None or not _begun(helper, task):
        helper = _Helper(writer, log, environment)
        _begun(helper, task)
    try:
        code = helper.end(time_limit_s)
    finally:
        with _lock:
            _busy.discard(helper)
    if _stopping.is_set():
        raise Stopped
    if helper.alive:
        with _lock:
            other, _idle[kind] = _idle.get(kind), helper
        if other is not None:
            other.stop()
    return code


def _begun(helper: _Helper, task: dict[str, Any]) -> bool:
    """Hands over a task, as `_Helper.begin`, unless tasks are being stopped."""
    with _lock:
        stopping = _stopping.is_set()
        if not stopping:
            _busy.add(helper)
    if stopping:
        helper.stop()
        raise Stopped
    begun = False
    try:
        begun = helper.begin(task)
    finally:
        if not begun:
            with _lock:
                _busy.discard(helper)
    return begun


@contextmanager
def tasks_stopped() -> Iterator[None]:
    """Ends all running tasks and their helpers. Within the context, a thread that runs or begins a task gets
    `Stopped`."""
    with _lock:
        _stopping.set()
        busy = list(_busy)
    for helper in busy:
        helper.kill()
    try:
        yield
    finally:
        _stopping.clear()


class _Helper:
    """A process of `export.process.converter`, as seen by the program: it runs one task after another."""

    def __init__(self, writer: str | None, log: Path, environment: dict[str, str]) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                _command(writer),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
            )
        self._doing: int | None = None
        """Process of the current task."""

    @property
    def alive(self) -> bool:
        """Whether it can take another task."""
        return self._process.poll() is None

    def begin(self, task: dict[str, Any]) -> bool:
        """Hands over a task. Returns False if the helper has ended, as an idle helper does after a while."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        try:
            reply = self._process.stdout.readline()
        except BaseException:  # Ctrl-C, while it imports
            self.stop()
            raise
        self._doing = int(reply) if reply else None
        return bool(reply)

    def end(self, time_limit_s: float) -> int | None:
        """Waits for the task. Returns its exit code (negative: a signal), `None` if it was stopped after the
        timeout."""
        assert self._process.stdout is not None
        late = False

        def stop() -> None:
            nonlocal late
            late = True
            self._stop_task()

        limit = Timer(time_limit_s, stop)
        limit.start()
        try:
            reply = self._process.stdout.readline()
            # A helper that runs the task itself, or that crashed while importing, ends with it.
            code = int(reply) if reply else self._process.wait()
            self._doing = None
        finally:
            limit.cancel()
            if self._doing is not None:
                self.stop()
        return None if late else code

    def kill(self) -> None:
        """Ends the helper and its current task, for which another thread may be waiting."""
        self._stop_task()
        self._process.kill()

    def stop(self) -> None:
        """Ends the helper and its current task."""
        self.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def _stop_task(self) -> None:
        if self._doing is not None:
            with suppress(ProcessLookupError):
                os.kill(self._doing, signal.SIGKILL)


def _command(writer: str | None) -> list[str]:
    # -P: nothing is imported from the working directory.
    return [sys.executable, "-P", "-m", "export.process.converter", writer or "", str(lasting_parent())]


def _environment() -> dict[str, str]:
    """The environment of this program, in which Python finds this package."""
    paths = [str(_PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TQDM_DISABLE": "1"}


_idle: dict[tuple[str | None, str], _Helper] = {}
"""An idle helper for each writer and search path."""
_busy: set[_Helper] = set()
"""The helpers that run a task."""
_stopping = Event()
"""Set while tasks are being stopped."""
_lock = Lock()


def _no_value(reason: str) -> Ended:
    return Ended(value=None, reason=reason, peak_rss_bytes=None)
