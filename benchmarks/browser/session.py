"""A session of a file in the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Self

import numpy as np

from benchmarks.browser.assets import PACKAGES
from benchmarks.browser.exchange import RETURN_LIMIT_S, Command, Exchange, Page
from benchmarks.browser.message import ArrayType, Payload, payload_of
from benchmarks.browser.server import Server
from benchmarks.device import Memory, SessionFailed, Unavailable
from benchmarks.files import ExportedFile, FileTensor

RUNTIMES = {"onnx": "onnxruntime-web", "tflite": "@litertjs/core"}
"""The package that runs each format."""
_LOAD_LIMIT_S = 180.0
_REPLY_LIMIT_S = 600.0
_numbers = count(1)


class BrowserSession:
    """The `Session` of a file in the page: a worker of its own, which runs the file in its runtime."""

    _page: Page
    _reply_of: Command

    notes: tuple[str, ...] = ()
    """Those of the device are all there are."""

    def __init__(self, file: ExportedFile, *, exchange: Exchange, server: Server, accelerator: str) -> None:
        self._file, self._exchange, self._server = file, exchange, server
        self._accelerator = accelerator
        self._number = next(_numbers)
        self._loaded = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ends the worker; without waiting if the program was interrupted."""
        if not self._loaded:
            return
        with suppress(Unavailable):
            closing = self._send("close", limit_s=_REPLY_LIMIT_S)
            if kind is None or issubclass(kind, Exception):
                self._exchange.wait(closing)

    def load(self, *, threads: int, limit_s: float = _LOAD_LIMIT_S) -> str:
        """Loads the file; returns name and version of the runtime, its accelerator and threads."""
        file = self._file
        if file.format not in RUNTIMES:
            raise Unavailable(
                f"browsers run files of the formats {' and '.join(RUNTIMES)}, not {file.format}: measure them on "
                "another device"
            )
        self._page = self._exchange.wait_for_page(RETURN_LIMIT_S)
        facts = self._page.facts
        if threads > 1 and not facts.isolated:
            raise Unavailable(
                f"{threads} threads need a cross-origin isolated page: open it over https or on localhost, or "
                "measure with 1 thread"
            )
        if self._accelerator not in facts.backends:
            raise Unavailable(
                f"this browser has no {self._accelerator}; it has {', '.join(facts.backends)}"
                + ("" if facts.secure else ", because the page is no secure context")
            )
        (package,) = (one for one in PACKAGES if one.name == RUNTIMES[file.format])
        address = self._server.offer(file.path, number=self._number)
        argument = {
            "format": file.format,
            "address": address,
            "version": package.version,
            "threads": threads,
            "accelerator": self._accelerator,
            "entry": file.entry,
            "inputs": [_row(tensor) for tensor in file.inputs],
            "outputs": [_row(tensor) for tensor in file.outputs],
        }
        try:
            self._loaded = True
            return self._ask("load", argument, limit_s=limit_s).value
        finally:
            self._server.withdraw(address)

    def hold(self, inputs: Mapping[str, np.ndarray], *, limit_s: float = _REPLY_LIMIT_S) -> None:
        """Sends the canonical inputs (`1 ...`) of one clip by name for `time_runs`."""
        try:
            arrays = [tensor.arrange(inputs[tensor.name]) for tensor in self._file.inputs]
        except ValueError as error:
            raise self._failure(f"failed in 'hold': {error}") from error
        self._ask("hold", limit_s=limit_s, payloads=[payload_of(array) for array in arrays])

    def time_runs(self, count: int, *, limit_s: float = _REPLY_LIMIT_S) -> np.ndarray:
        """Times `count` inferences on the stored inputs in nanoseconds, after one warm-up.

        With a coarse clock, inferences are timed in blocks, and each has the mean of its block.
        """
        expects = [ArrayType(dtype="float64", shape=(count,))]
        (elapsed_ms,) = self._ask("time_runs", {"count": count}, limit_s=limit_s, expects=expects).arrays
        if not (np.isfinite(elapsed_ms).all() and (elapsed_ms > 0).all()):
            raise self._failure("gave times in 'time_runs' that are not positive")
        return np.maximum(1, np.rint(elapsed_ms * 1e6)).astype(np.int64)

    def memory(self) -> Memory:
        """Unknown: a browser does not tell the memory of a worker."""
        return Memory(peak_rss_bytes=None, model_rss_bytes=None)

    def begin_infer(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Sends canonical inputs of N clips by name, without waiting."""
        clips = len(next(iter(inputs.values())))
        try:
            for tensor in self._file.inputs:
                tensor.arrange(inputs[tensor.name][:1])
        except ValueError as error:
            raise self._failure(f"failed in 'infer': {error}") from error
        self._reply_of = self._send(
            "infer",
            {"clips": clips},
            limit_s=_REPLY_LIMIT_S,
            payloads=[_clips(tensor, inputs[tensor.name]) for tensor in self._file.inputs],
            expects=[
                ArrayType(dtype="float32", shape=(clips, tensor.shape[-1])) for tensor in self._file.outputs
            ],
        )

    def end_infer(self) -> list[np.ndarray]:
        """Logits `N K` of `begin_infer`, float32, one array per output of the file."""
        return list(self._receive(self._reply_of).arrays)

    def _ask(self, name: str, argument: Mapping[str, Any] | None = None, **settings: Any) -> Any:
        return self._receive(self._send(name, argument, **settings))

    def _send(
        self,
        name: str,
        argument: Mapping[str, Any] | None = None,
        *,
        limit_s: float = _REPLY_LIMIT_S,
        payloads: list[Payload] | None = None,
        expects: list[ArrayType] | None = None,
    ) -> Command:
        command = Command(
            name=name,
            argument={"session": self._number, "file": str(self._file.id), **(argument or {})},
            limit_s=limit_s,
            payloads=payloads or (),
            expects=expects or (),
        )
        self._exchange.post(self._page, command)
        return command

    def _receive(self, command: Command) -> Any:
        reply = self._exchange.wait(command)
        if reply.outcome == "unavailable":
            raise Unavailable(reply.value)
        if reply.outcome == "failed":
            raise self._failure(f"failed in {command.name!r}: {reply.value}")
        return reply

    def _failure(self, what: str) -> SessionFailed:
        return SessionFailed(f"{self._file.title}: {RUNTIMES[self._file.format]} in the browser {what}")


def _row(tensor: FileTensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _clips(tensor: FileTensor, array: np.ndarray) -> Payload:
    """The inputs of all clips for one tensor, `clips, *shape`, arranged while they are sent."""

    def parts() -> Iterator[bytes]:
        for clip in range(len(array)):
            yield tensor.arrange(array[clip : clip + 1]).tobytes()

    return Payload(type=ArrayType(dtype=tensor.dtype, shape=(len(array), *tensor.shape)), parts=parts)
