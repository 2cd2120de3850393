"""Runs a function in a process of its own: what crashes, prints or takes memory there ends with that process.

Importing a converter takes longer than most of its work. A helper (`export.process.converter`) that has imported it
stays for a while and forks a process for each task; where the system cannot fork safely, it does one task itself
and ends.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Timer
from typing import Any

from compress.command.lifetime import how_it_ended, lasting_parent
from compress.command.sentence import in_a_sentence as in_a_sentence

TASK_FILE, ENDED_FILE = "task.pickle", "ended.pickle"

_PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a task ended: with what its function returned, or with the reason why it returned nothing."""

    value: Any
    reason: str | None
    peak_rss_bytes: int | None
    """Most memory that the process held; `None` when it crashed."""


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
    """`function(argument)`, computed in a process of its own, which prints to the end of the file `log`.

    `function` is a module's own, found again by its name; `argument` and what it returns are pickled. An exception,
    a crash, or no end in time becomes an `Ended` with a reason, in which `who` names the part that failed. `writer`
    names the module of a writer whose libraries the task needs: a helper imports them, unless one is at hand that
    has. With `only_at_hand` it is not worth the time where there is none.
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
    """Has the task in `folder` done; `None` where it had not ended in time."""
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
    if helper is not None and not helper.begin(task):
        helper = None
    if helper is None:
        helper = _Helper(writer, log, environment)
        helper.begin(task)
    code = helper.end(time_limit_s)
    if helper.alive:
        with _lock:
            other, _idle[kind] = _idle.get(kind), helper
        if other is not None:
            other.stop()
    return code


class _Helper:
    """A process of `export.process.converter`, as its program sees it: one task after another."""

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
        """Process that does the task at hand."""

    @property
    def alive(self) -> bool:
        """Whether it can take another task."""
        return self._process.poll() is None

    def begin(self, task: dict[str, Any]) -> bool:
        """Hands over a task; False when the helper had ended before, which one without work does after a while."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(task).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        try:
            said = self._process.stdout.readline()
        except BaseException:  # Ctrl-C, while it imports
            self.stop()
            raise
        self._doing = int(said) if said else None
        return bool(said)

    def end(self, time_limit_s: float) -> int | None:
        """Waits for the task; its exit code (negative: a signal), `None` when it was stopped for want of time."""
        assert self._process.stdout is not None
        late = False

        def stop() -> None:
            nonlocal late
            late = True
            self._stop_task()

        limit = Timer(time_limit_s, stop)
        limit.start()
        try:
            said = self._process.stdout.readline()
            # A helper that does the task itself, or that crashed while importing, ends with it.
            code = int(said) if said else self._process.wait()
            self._doing = None
        finally:
            limit.cancel()
            if self._doing is not None:
                self.stop()
        return None if late else code

    def stop(self) -> None:
        """Ends the helper, and the task that it has at hand."""
        self._stop_task()
        self._process.kill()
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
    # -P: nothing that lies in the working directory is imported.
    return [sys.executable, "-P", "-m", "export.process.converter", writer or "", str(lasting_parent())]


def _environment() -> dict[str, str]:
    """This program's, in which Python finds this very package."""
    paths = [str(_PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TQDM_DISABLE": "1"}


_idle: dict[tuple[str | None, str], _Helper] = {}
"""A helper without work for each writer and search path."""
_lock = Lock()


def _no_value(reason: str) -> Ended:
    return Ended(value=None, reason=reason, peak_rss_bytes=None)
