"""The link to a board: commands to its hub, messages to the processes of files, and copies."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.device import Unavailable
from benchmarks.ssh.board import frames
from benchmarks.ssh.client import Connection, ConnectionLost, run
from benchmarks.ssh.fields import SshFields
from benchmarks.ssh.runner import Runner, pack
from benchmarks.ssh.uploads import Upload
from compress.command.progress import bar
from compress.command.terminal import problems

_REPLY_LIMIT_S = 600.0
_BLOCK_BYTES = 2**20
_PAUSE_S = 2.0
"""Before a lost connection is made again: a server that restarts does not listen at once."""
_NO_RUNNER, _NO_PYTHON = 91, 92
"""Exit codes of the script that starts the hub."""


class Link:
    """A connection to a board on which the hub runs; it is copied there once.

    A lost connection is made again, once. The processes of files ended with it, so that `send` and `receive` raise
    `ConnectionLost` for channels of the old one; `ask` is repeated on the new one. Every method raises
    `Unavailable` if the connection is lost for good or the board lacks something.
    """

    def __init__(self, settings: SshFields, name: str) -> None:
        self._settings = settings
        self._name = name
        self._there: set[str] = set()
        self._connection = self._connect(pack())
        self._number = 0
        self._lost = self._gone = ""

    @property
    def number(self) -> int:
        """Number of the connection: 0, or 1 once it was made again."""
        return self._number

    @property
    def notes(self) -> tuple[str, ...]:
        """Whether the connection was made again."""
        if not self._number:
            return ()
        return ("the connection was lost and made again; files that ran were loaded a second time",)

    def close(self) -> None:
        """Ends the connection, and with it the hub and the processes of files."""
        self._connection.close()

    def ask(
        self, command: str, *, payload: bytes = b"", limit_s: float = _REPLY_LIMIT_S, **arguments: Any
    ) -> Any:
        """The answer of the hub to a command."""
        number = self._number
        try:
            self.send(frames.HUB, command, arguments, payload=payload, number=number)
            answer = self.receive(frames.HUB, limit_s=limit_s, number=number)
        except ConnectionLost as error:
            self.reconnect(error, number=number)
            return self.ask(command, payload=payload, limit_s=limit_s, **arguments)
        if answer is None:  # a late answer would be taken for that to the next command
            raise self._connection.give_up(f"did not respond to {command!r} within {limit_s:g} s")
        if answer.header["outcome"] != "ok":
            raise Unavailable(f"{self._settings.address}: {answer.header['value']}")
        return answer.header["value"]

    def send(self, channel: int, command: str, arguments: Any, *, payload: bytes = b"", number: int) -> None:
        """Sends a command to a channel that was opened on connection `number`."""
        self._check(number)
        header = {"command": command, "arguments": arguments}
        self._connection.send(frames.Message(channel=channel, header=header, payload=payload))

    def receive(self, channel: int, *, limit_s: float, number: int) -> frames.Message | None:
        """The next answer of a channel that was opened on connection `number`; None if there is none within
        `limit_s`."""
        self._check(number)
        return self._connection.receive(channel, limit_s=limit_s)

    def reconnect(self, lost: ConnectionLost, *, number: int) -> None:
        """Makes connection `number` again, unless that was done already.

        Raises `Unavailable` for the second loss, and if the board does not answer.
        """
        if number < self._number:
            return
        if self._number:
            self._gone = f"{lost}; it had been made again once before"
            raise Unavailable(self._gone)
        problems().print(f"{self._name}: connecting again: {lost}", markup=False, highlight=False)
        time.sleep(_PAUSE_S)
        try:
            connection = self._connect(pack())
        except Unavailable as error:
            self._gone = f"{lost}; connecting again failed: {error}"
            raise Unavailable(self._gone) from error
        self._connection.close()
        self._connection, self._number, self._lost = connection, 1, str(lost)
        self._there.clear()

    def _check(self, number: int) -> None:
        if self._gone:
            raise Unavailable(self._gone)
        if number < self._number:
            raise ConnectionLost(self._lost)

    def push(self, files: Sequence[Upload], *, what: str) -> None:
        """Copies what is not on the board yet; an interrupted copy continues where it ended."""
        absent = [file for file in files if file.path not in self._there]
        if not absent:
            return
        here = self.ask("present", files=[(file.path, file.size) for file in absent])
        total = sum(file.size for file in absent)
        with bar(problems(), f"copy {what} to {self._name}", unit=" bytes") as report:
            done = sum(here)
            for file, begin in zip(absent, here, strict=True):
                while begin < file.size:
                    report(done, total)
                    block = file.read(begin, _BLOCK_BYTES)
                    begin = self.ask(
                        "put",
                        payload=block,
                        path=file.path,
                        size=file.size,
                        sha256=file.sha256,
                        begin=begin,
                    )
                    done += len(block)
                self._there.add(file.path)

    def _connect(self, runner: Runner) -> Connection:
        connection = Connection(self._settings, self._start_script(runner))
        if not connection.started and connection.exit_code() == _NO_RUNNER:
            connection.close()
            run(self._settings, self._install_script(runner), content=runner.content)
            connection = Connection(self._settings, self._start_script(runner))
        if connection.started:
            return connection
        error = connection.loss()
        if connection.exit_code() == _NO_PYTHON:
            error = Unavailable(
                f"{self._settings.address}: {self._settings.python} is not found on the board: install Python "
                "3.11 or newer there, or give its path as `python`"
            )
        connection.close()
        raise error

    def _start_script(self, runner: Runner) -> str:
        folder, python = self._folder(), _shell_path(self._settings.python)
        return _script(
            f"cd {folder} 2>/dev/null && [ -f {runner.name} ] || exit {_NO_RUNNER}",
            f"command -v {python} >/dev/null 2>&1 || exit {_NO_PYTHON}",
            f'exec {python} {runner.name} hub "$PWD"',
        )

    def _install_script(self, runner: Runner) -> str:
        return _script(
            f"mkdir -p {self._folder()} && cd {self._folder()} || exit",
            f"cat > {runner.name}.$$ && [ $(wc -c < {runner.name}.$$) -eq {len(runner.content)} ] "
            f"&& mv {runner.name}.$$ {runner.name} || {{ rm -f {runner.name}.$$; exit 1; }}",
        )

    def _folder(self) -> str:
        if self._settings.folder is None:
            return '"${XDG_CACHE_HOME:-$HOME/.cache}"/pocketreel'
        return _shell_path(self._settings.folder)


def interrupted(kind: type[BaseException] | None) -> bool:
    """Whether a `with` block was left by an interruption of the program."""
    return kind is not None and not issubclass(kind, Exception)


def _shell_path(path: str) -> str:
    """A path as a word of a shell; `~/` is the home folder."""
    return '"$HOME"/' + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)


def _script(*lines: str) -> str:
    """Runs lines in the POSIX shell, whatever the login shell is."""
    return f"exec sh -c {shlex.quote('; '.join(lines))}"
