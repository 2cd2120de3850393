"""Runs the work of a command in a worker process, watched by a supervisor that only holds the terminal.

If the worker crashes in a backend, hangs in user code or calls `os._exit(0)`, the supervisor reports it and exits
with the correct code; it ends the worker within two seconds of Ctrl-C. The worker sends lines of JSON over a pipe:
`begin` and `end` of a phase, `code` at the end.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from compress.command import FAILED, INTERRUPTED, OK, SUPERVISED
from compress.command.interrupts import ignore
from compress.command.invocation import typed_again
from compress.command.lifetime import (
    adopt_orphans,
    end_with_parent,
    how_it_ended,
    kill_all,
    kill_tree,
    memory_bytes,
    started_by,
)
from compress.command.terminal import print_error, problems

_LOOK_S = 0.2
"""Interval for checking memory and time."""
_STOP_S = 1.2
"""Time for cleanup after Ctrl-C."""
_EXIT_S = 10.0
"""Time to end after the exit code was sent: a thread may keep the process alive."""

_pipe: int | None = None
"""Pipe to the supervisor; `None` without one."""


def is_supervised() -> bool:
    """Whether this process is a worker; if so, ties its lifetime to the supervisor."""
    global _pipe
    given = os.environ.pop(SUPERVISED, None)
    if _pipe is None and given is not None:  # <file descriptor of the pipe>,<id of the supervisor>
        number, parent = map(int, given.split(","))
        os.set_inheritable(number, False)
        _pipe = number
        end_with_parent(parent)
    return _pipe is not None


def send_code(code: int) -> None:
    """Sends the exit code of the work; what this process does afterwards has no effect."""
    _send({"code": code})


@contextmanager
def phase(doing: str, *, seconds: float | None = None, memory_bytes: int | None = None) -> Iterator[None]:
    """A phase of the work, which is stopped when it exceeds its time or memory limit."""
    _send({"begin": doing, "seconds": seconds, "bytes": memory_bytes})
    try:
        yield
    finally:
        _send({"end": doing})


def _send(message: dict[str, Any]) -> None:
    if _pipe is not None:
        with suppress(OSError):
            os.write(_pipe, json.dumps(message).encode() + b"\n")


@dataclass(frozen=True, kw_only=True)
class Resume:
    """How to resume work that was stopped or crashed."""

    says: str = "resume with"
    without: tuple[str, ...] = ()
    """Options that would restart the work from the beginning."""

    def sentence(self) -> str:
        """The message with the command to type."""
        return f"{self.says}: {typed_again(without=self.without)}"


def supervise(*, resume: Resume | None) -> int:
    """Starts this command again as the worker, and returns its exit code.

    `resume` is printed after an interruption or a crash.
    """
    reading, writing = os.pipe()
    adopt_orphans()
    try:
        environment = {**os.environ, SUPERVISED: f"{writing},{os.getpid()}"}
        command = [sys.executable, *sys.orig_argv[1:]]
        # The worker ignores Ctrl-C while it loads libraries, to avoid a traceback; this process ends it then.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            process = subprocess.Popen(command, env=environment, pass_fds=[writing])
        finally:
            signal.signal(signal.SIGINT, before)
    except OSError as error:
        os.close(reading)
        print_error(f"the worker process cannot be started: {error}")
        return FAILED
    finally:
        os.close(writing)
    watch = _Watch(process, reading)
    try:
        code = watch.until_it_ends()
    except KeyboardInterrupt:
        code = watch.stop()
    finally:
        os.close(reading)
        kill_all(started_by(os.getpid()))
    if code == INTERRUPTED:
        with suppress(OSError):
            problems().print("stopped" + (f"; {resume.sentence()}" if resume else ""))
    elif watch.reason is not None:
        print_error(watch.reason + (f"; {resume.sentence()}" if resume and not watch.users_code else ""))
    return code


@dataclass(frozen=True, kw_only=True)
class _Phase:
    doing: str
    until_s: float | None
    seconds: float | None
    bytes: int | None


class _Watch:
    """The worker process and the state that it has reported."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: int) -> None:
        self._process, self._pipe = process, pipe
        self._rest = b""
        self._code: int | None = None
        self._phases: list[_Phase] = []
        self.reason: str | None = None
        """Reason why it ended without an exit code."""

    @property
    def users_code(self) -> bool:
        """Whether it ended in a phase of user code, which would fail again."""
        return bool(self._phases)

    def until_it_ends(self) -> int:
        """Waits for the end of the worker; returns its exit code."""
        while self._process.poll() is None and self._code is None:
            if select.select([self._pipe], [], [], _LOOK_S)[0] and not self._read():
                self._process.wait(_EXIT_S)
            self._enforce()
        self._read_all()
        if self._code is not None:
            started = started_by(self._process.pid)
            self._end_for_good(_EXIT_S)
            kill_all(started)
            return self._code
        if self.reason is None:
            subject = self._phases[-1].doing if self.users_code else "the command"
            self.reason = f"{subject} {how_it_ended(self._process.wait())}"
        return FAILED

    def stop(self) -> int:
        """Stops the worker: interrupts it, and kills it if it does not end.

        Work without an end of its own, such as showing a camera, may end with exit code 0.
        """
        ignore()
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        self._end_for_good(_STOP_S)
        self._read_all()
        return OK if self._code == OK else INTERRUPTED

    def _end_for_good(self, patience_s: float) -> None:
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._kill()

    def _kill(self) -> None:
        kill_tree(self._process.pid)
        self._process.wait()
        with suppress(OSError):
            problems().show_cursor(True)  # hidden by a progress bar

    def _read_all(self) -> None:
        """Reads the remaining messages of the worker."""
        while select.select([self._pipe], [], [], 0)[0] and self._read():
            pass

    def _read(self) -> bool:
        """Reads messages of the worker; False when it has closed the pipe."""
        given = os.read(self._pipe, 1 << 16)
        *lines, self._rest = (self._rest + given).split(b"\n")
        for line in lines:
            self._note(json.loads(line))
        return bool(given)

    def _note(self, message: dict[str, Any]) -> None:
        if "code" in message:
            self._code = message["code"]
        elif "end" in message:
            self._phases.pop()
        else:
            seconds = message["seconds"]
            until_s = None if seconds is None else time.monotonic() + seconds
            self._phases.append(
                _Phase(doing=message["begin"], until_s=until_s, seconds=seconds, bytes=message["bytes"])
            )

    def _enforce(self) -> None:
        """Kills the worker when it exceeds the time or memory limit of its current phase."""
        if not self._phases or self._code is not None or self._process.poll() is not None:
            return
        now = self._phases[-1]
        if now.until_s is not None and time.monotonic() > now.until_s:
            self.reason = (
                f"{now.doing} did not end within {now.seconds:g} s; --user-code-timeout sets the limit"
            )
        elif now.bytes is not None and (held := memory_bytes(self._process.pid)) > now.bytes:
            self.reason = (
                f"{now.doing} used {held / 1e9:.1f} GB of memory, more than the limit of {now.bytes / 1e9:.1f} GB; "
                "--user-code-memory sets the limit"
            )
        else:
            return
        self._kill()
