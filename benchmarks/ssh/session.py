"""One exported file on a board."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.device import Memory, SessionFailed, Unavailable
from benchmarks.files import ExportedFile
from benchmarks.runtimes import PEERS, RUNTIMES
from benchmarks.ssh import uploads
from benchmarks.ssh.board import frames
from benchmarks.ssh.link import Link, interrupted
from benchmarks.ssh.pythons import Pythons
from benchmarks.ssh.throttling import Clocks
from compress.command.lifetime import exit_of

_LOAD_LIMIT_S = 600.0
_REPLY_LIMIT_S = 1800.0


class BoardSession:
    """The `Session` of a board: a process there, which ends with its `with` block or with the connection.

    Every method also raises `Unavailable`, if the board is lost.
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
        self._command = ""
        self._limit_s = _REPLY_LIMIT_S
        self._clocks = Clocks()

    def __enter__(self) -> BoardSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if interrupted(kind):
            return  # an answer may be under way; the process ends with the connection
        with suppress(Unavailable):  # its process ended with the connection
            self._link.ask("close", channel=self._channel)

    def load(self, *, threads: int, limit_s: float = _LOAD_LIMIT_S) -> str:
        """Copies and loads the file; returns name and version of the runtime."""
        python = self._pythons.of(self._runtime)
        path, parts = uploads.of_file(self._file.path)
        self._link.push(parts, what=self._file.title)
        self._link.ask("open", channel=self._channel, python=python, cpus=self._cpus)
        row = {
            "format": self._file.format,
            "scheme": self._file.scheme,
            "path": path,
            "size_bytes": self._file.size_bytes,
            "inputs": [asdict(tensor) for tensor in self._file.inputs],
            "outputs": [asdict(tensor) for tensor in self._file.outputs],
            "entry": self._file.entry,
        }
        self._send("load", row, threads, limit_s=limit_s)
        return str(self._receive().header["value"])

    def hold(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Copies the canonical inputs (`1 ...`) of one clip by name for `time_runs`."""
        self._send("hold", self._copied(inputs))
        self._receive()

    def time_runs(self, count: int, *, limit_s: float = _REPLY_LIMIT_S) -> np.ndarray:
        """Times `count` inferences on the stored inputs in nanoseconds, after one warm-up."""
        self._send("time_runs", count, limit_s=limit_s)
        answer = self._receive()
        (elapsed_ns,) = self._arrays(answer, [((count,), np.int64)])
        self._clocks.add(**answer.header["value"])
        return elapsed_ns

    def memory(self) -> Memory:
        """Memory of the process so far."""
        self._send("memory")
        return Memory(**self._receive().header["value"])

    @property
    def notes(self) -> tuple[str, ...]:
        """Clock and temperature during the timed inferences, and throttling."""
        return self._clocks.notes()

    def begin_infer(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Copies canonical inputs of N clips by name and starts their inference, without waiting."""
        self._clips = len(next(iter(inputs.values())))
        self._send("infer", self._copied(inputs))

    def end_infer(self) -> list[np.ndarray]:
        """Logits `N K` of `begin_infer`, float32, one array per output of the file."""
        expected = [((self._clips, tensor.shape[-1]), np.float32) for tensor in self._file.outputs]
        return self._arrays(self._receive(), expected)

    def _copied(self, inputs: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
        """The rows of the inputs on the board, after copying those that are new there."""
        stored = {name: uploads.of_array(array) for name, array in inputs.items()}
        self._link.push([upload for _, upload in stored.values()], what="clips")
        return {name: row for name, (row, _) in stored.items()}

    def _send(self, command: str, *arguments: object, limit_s: float = _REPLY_LIMIT_S) -> None:
        self._command, self._limit_s = command, limit_s
        self._link.send(self._channel, command, list(arguments))

    def _receive(self) -> frames.Message:
        answer = self._link.receive(self._channel, limit_s=self._limit_s)
        if answer is None:
            self._link.ask("close", channel=self._channel)
            raise self._failure(
                f"did not respond to {self._command!r} within {self._limit_s:g} s and was killed"
            )
        outcome, value = answer.header["outcome"], answer.header["value"]
        if outcome == "unavailable":
            raise Unavailable(value)
        if outcome == "died":
            last_words = answer.header.get("last_words")
            said = f"; last output: {last_words}" if last_words else ""
            raise self._failure(f"{exit_of(value)} in {self._command!r}{said}")
        if outcome != "ok":
            raise self._failure(f"failed in {self._command!r}: {value}")
        return answer

    def _arrays(
        self, answer: frames.Message, expected: Sequence[tuple[tuple[int, ...], type[np.generic]]]
    ) -> list[np.ndarray]:
        try:
            arrays = frames.unpack(answer.header.get("arrays"), answer.payload)
        except frames.Malformed as error:
            raise self._failure(f"answered {self._command!r} with {error}") from error
        found = [(array.shape, array.dtype.type) for array in arrays]
        if found != list(expected):
            raise self._failure(f"answered {self._command!r} with {found} instead of {list(expected)}")
        return arrays

    def _failure(self, what: str) -> SessionFailed:
        return SessionFailed(f"{self._file.title}: {self._runtime.name} on {self._device} {what}")
