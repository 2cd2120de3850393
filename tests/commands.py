"""Runs commands of ours as `python -m` does, forked off a process that has imported torch (`tests.warm`).

What a test sees of a command is the same: exit code, standard output and standard error, files, signals, the
process that reads the arguments and the one that works. Not the same: how long it takes to begin, what `/proc` says
of its environment and arguments, and the seed of hashes, which is that of the process it was forked off. A test of
such things starts Python itself.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from tests.warm import ALL_WRITERS, COMMANDS, PLACE, ROOT, listen, request, shadows

FORKS = sys.platform == "linux"
_AT_START = (
    "PYTHONUTF8",
    "PYTHONCOERCECLOCALE",
    "PYTHONIOENCODING",
    "LC_ALL",
    "LANG",
    "LC_CTYPE",
    "PYTHONHASHSEED",
)
"""What Python reads when it starts, and never again."""


def run_command_line(
    arguments: Sequence[object],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    timeout: float = 900,
    stderr_to_stdout: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Runs `python -m <arguments>` to its end; fails where it leaves a process behind.

    `env` is the whole environment, by default that of this process.
    """
    process = start_command_line(arguments, cwd=cwd, env=env, stderr_to_stdout=stderr_to_stdout)
    try:
        out, problems = process.communicate(timeout)
    except BaseException:
        process.kill()
        raise
    assert not process.left, f"{arguments} left processes behind: {process.left}"
    return subprocess.CompletedProcess(process.args, process.returncode, out, problems)


def start_command_line(
    arguments: Sequence[object],
    *,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    stderr_to_stdout: bool = False,
    start_new_session: bool = False,
) -> Started:
    """Starts `python -m <arguments>`, without input.

    In a session of its own it leads a group of processes, to which all that it starts belongs: its helpers are then
    not forked off others that are warm.
    """
    words = [os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in arguments]
    given = dict(os.environ if env is None else env)
    return Started(words, cwd, given, merged=stderr_to_stdout, session=start_new_session)


class Started:
    """A command that runs: what tests use of `subprocess.Popen`."""

    def __init__(
        self, words: list[str], cwd: Path, env: dict[str, str], *, merged: bool, session: bool
    ) -> None:
        self.args = [sys.executable, "-m", *words]
        self.returncode: int | None = None
        self.left: list[str] = []
        """What it has left behind."""
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._problems: IO[bytes] | None = None if merged else tempfile.TemporaryFile()  # noqa: SIM115
        problems = self._out if self._problems is None else self._problems
        with Path(os.devnull).open("rb") as nothing:
            if not _can_be_forked(cwd, env):
                self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                    self.args, cwd=cwd, env=env, stdin=nothing, stdout=self._out, stderr=problems,
                    start_new_session=session,
                )  # fmt: skip
                self.pid = self._process.pid
                return
            self._process = None
            case = {"module": words[0], "arguments": words[1:], "folder": str(cwd), "session": session}
            # As is a job that a shell has in the background.
            case["deaf"] = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            case["environment"] = {**env, PLACE: ""} if session else env
            streams = [nothing.fileno(), self._out.fileno(), problems.fileno()]
            self._connection = request(_warm(), case, streams)
        self._answers = self._connection.makefile("r")
        self.pid = json.loads(self._answers.readline())["pid"]

    def poll(self) -> int | None:
        """The exit code; None as long as it runs."""
        if self._process is not None:
            self.returncode = self._process.poll()
        elif self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self._take_answer()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""
        if self._process is not None:
            self.returncode = self._process.wait(timeout)
        elif self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._take_answer()
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it has printed to standard output and to standard error, once it has ended."""
        self.wait(timeout)
        return _text(self._out), "" if self._problems is None else _text(self._problems)

    def send_signal(self, number: int) -> None:
        """Sends it a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)

    def _take_answer(self) -> None:
        line = self._answers.readline()
        assert line, "the process that is warm has ended"
        answer = json.loads(line)
        self.returncode, self.left = answer["code"], answer["left"]
        self._connection.close()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="backslashreplace").replace("\r\n", "\n")


def _can_be_forked(cwd: Path, env: Mapping[str, str]) -> bool:
    """Whether the command would import the same modules, and Python start in the same way."""
    if not FORKS or any(env.get(name) != os.environ.get(name) for name in _AT_START):
        return False
    return not shadows([str(cwd), *env.get("PYTHONPATH", "").split(os.pathsep)])


def start_writers() -> None:
    """Starts the process that stands for all writers, for this process and those that it starts."""
    if FORKS:
        os.environ[PLACE] = str(_serve(ALL_WRITERS))


@cache
def _warm() -> Path:
    """The socket of the process that runs commands, which is started now."""
    return _serve(COMMANDS) / COMMANDS


def _serve(name: str) -> Path:
    """The folder with the socket of a process, which is started now and ends with this one."""
    folder = tempfile.TemporaryDirectory(prefix="pocketreel-warm-")
    place = Path(folder.name)
    with listen(place / name) as listening, (place / "log").open("wb") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        environment.pop("COLUMNS", None)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(place), name, str(listening.fileno())],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log,
            pass_fds=[listening.fileno()],
        )  # fmt: skip
    if name == ALL_WRITERS:
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.connect(str(place / name))
            knocking.recv(1)  # which ends when it is there

    def end() -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)
        folder.cleanup()

    atexit.register(end)
    return place
