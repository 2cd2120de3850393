"""One exported file on a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from benchmarks.device import Memory, SessionFailed, Unavailable
from benchmarks.files import ExportedFile
from benchmarks.runtimes import PEERS, RUNTIMES
from benchmarks.ssh import uploads
from benchmarks.ssh.board import frames
from benchmarks.ssh.client import ConnectionLost
from benchmarks.ssh.link import Link, interrupted
from benchmarks.ssh.pythons import Pythons
from benchmarks.ssh.throttling import Clocks
from benchmarks.steady import warm_up
from compress.command.lifetime import exit_of

_LOAD_LIMIT_S = 600.0
_REPLY_LIMIT_S = 1800.0


class _Asked(NamedTuple):
    """A command to the process of a file."""

    command: str
    arguments: tuple[object, ...] = ()
    limit_s: float = _REPLY_LIMIT_S
    inputs: Mapping[str, np.ndarray] | None = None
    """Canonical inputs by name, which are copied first; the argument is then their rows on the board."""


class BoardSession:
    """The `Session` of a board: a process there, which ends with its `with` block or with the connection.

    If the connection is lost and made again (`Link`), the file is loaded again, gets its inputs, is warmed up if it
    had been timed, and repeats the command that was interrupted. Every method also raises `Unavailable`, if the
    board is lost.
    """

    def __init__(
        self,
        file: ExportedFile,
        *,
        device: str,
        link: Link,
        pythons: Pythons,
        channel: int,
        cpus: list[int] | None,
    ) -> None:
        self._file = file
        self._runtime = (RUNTIMES | PEERS)[file.format]
        self._device = device
        self._link = link
        self._pythons = pythons
        self._channel = channel
        self._cpus = cpus
        self._connection = link.number
        """Number of the connection on which the process was started."""
        self._asked: _Asked
        self._state: list[_Asked] = []
        """The commands that bring a new process into the state of this one."""
        self._was_timed = False
        self._clocks = Clocks()

    def __enter__(self) -> BoardSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if interrupted(kind):
            return  # an answer may be under way; the process ends with the connection
        if self._connection == self._link.number:
            with suppress(Unavailable):  # its process ended with the connection
                self._link.ask("close", channel=self._channel)

    def load(self, *, threads: int, limit_s: float = _LOAD_LIMIT_S) -> str:
        """Copies and loads the file; returns name and version of the runtime."""
        path, _ = uploads.of_file(self._file.path)
        row = {
            "format": self._file.format,
            "scheme": self._file.scheme,
            "path": path,
            "size_bytes": self._file.size_bytes,
            "inputs": [asdict(tensor) for tensor in self._file.inputs],
            "outputs": [asdict(tensor) for tensor in self._file.outputs],
            "entry": self._file.entry,
        }
        self._start()
        return str(self._set(_Asked("load", (row, threads), limit_s)).header["value"])

    def hold(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Copies the canonical inputs (`1 ...`) of one clip by name for `time_runs`."""
        self._set(_Asked("hold", inputs=inputs))

    def time_runs(self, count: int, *, limit_s: float = _REPLY_LIMIT_S) -> np.ndarray:
        """Times `count` inferences on the stored inputs in nanoseconds, after one warm-up."""
        answer = self._ask(_Asked("time_runs", (count,), limit_s))
        (elapsed_ns,) = self._arrays(answer, [((count,), np.int64)])
        self._was_timed = True
        self._clocks.add(**answer.header["value"])
        return elapsed_ns

    def memory(self) -> Memory:
        """Memory of the process so far."""
        return Memory(**self._ask(_Asked("memory")).header["value"])

    @property
    def notes(self) -> tuple[str, ...]:
        """Clock and temperature during the timed inferences, throttling, and a connection that was made again."""
        return self._clocks.notes() + self._link.notes

    def begin_infer(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Copies canonical inputs of N clips by name and starts their inference, without waiting."""
        self._clips = len(next(iter(inputs.values())))
        self._begin(_Asked("infer", inputs=inputs))

    def end_infer(self) -> list[np.ndarray]:
        """Logits `N K` of `begin_infer`, float32, one array per output of the file."""
        expected = [((self._clips, tensor.shape[-1]), np.float32) for tensor in self._file.outputs]
        return self._arrays(self._end(), expected)

    def _start(self) -> None:
        """Copies the file and starts its process."""
        python = self._pythons.of(self._runtime)
        _, parts = uploads.of_file(self._file.path)
        self._link.push(parts, what=self._file.title)
        self._link.ask("open", channel=self._channel, python=python, cpus=self._cpus)
        self._connection = self._link.number

    def _set(self, asked: _Asked) -> frames.Message:
        """Answer to a command that changes the state of the process."""
        answer = self._ask(asked)
        self._state = [*(one for one in self._state if one.command != asked.command), asked]
        return answer

    def _ask(self, asked: _Asked) -> frames.Message:
        self._begin(asked)
        return self._end()

    def _begin(self, asked: _Asked) -> None:
        try:
            self._send(asked)
        except ConnectionLost as error:
            self._resume(error)
            self._send(asked)

    def _end(self) -> frames.Message:
        asked = self._asked
        try:
            return self._receive(asked)
        except ConnectionLost as error:
            self._resume(error)
            self._send(asked)
            return self._receive(asked)

    def _resume(self, lost: ConnectionLost) -> None:
        """Brings a new process on a new connection into the state of the old one."""
        self._link.reconnect(lost, number=self._connection)
        self._start()
        for asked in self._state:
            self._ask(asked)
        if self._was_timed:
            warm_up(self)

    def _send(self, asked: _Asked) -> None:
        self._asked = asked
        arguments = list(asked.arguments)
        if asked.inputs is not None:
            stored = {name: uploads.of_array(array) for name, array in asked.inputs.items()}
            self._link.push([upload for _, upload in stored.values()], what="clips")
            arguments.append({name: row for name, (row, _) in stored.items()})
        self._link.send(self._channel, asked.command, arguments, number=self._connection)

    def _receive(self, asked: _Asked) -> frames.Message:
        answer = self._link.receive(self._channel, limit_s=asked.limit_s, number=self._connection)
        if answer is None:
            self._link.ask("close", channel=self._channel)
            raise self._failure(
                f"did not respond to {asked.command!r} within {asked.limit_s:g} s and was killed"
            )
        outcome, value = answer.header["outcome"], answer.header["value"]
        if outcome == "unavailable":
            raise Unavailable(value)
        if outcome == "died":
            last_words = answer.header.get("last_words")
            said = f"; last output: {last_words}" if last_words else ""
            raise self._failure(f"{exit_of(value)} in {asked.command!r}{said}")
        if outcome != "ok":
            raise self._failure(f"failed in {asked.command!r}: {value}")
        return answer

    def _arrays(
        self, answer: frames.Message, expected: Sequence[tuple[tuple[int, ...], type[np.generic]]]
    ) -> list[np.ndarray]:
        try:
            arrays = frames.unpack(answer.header.get("arrays"), answer.payload)
        except frames.Malformed as error:
            raise self._failure(f"answered {self._asked.command!r} with {error}") from error
        found = [(array.shape, array.dtype.type) for array in arrays]
        if found != list(expected):
            raise self._failure(f"answered {self._asked.command!r} with {found} instead of {list(expected)}")
        return arrays

    def _failure(self, what: str) -> SessionFailed:
        return SessionFailed(f"{self._file.title}: {self._runtime.name} on {self._device} {what}")
