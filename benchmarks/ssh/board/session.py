"""The process of one file on the board: reads commands from stdin and answers on stdout."""

from __future__ import annotations

import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmarks import machine
from benchmarks.files import ExportedFile, FileTensor
from benchmarks.served import Served, answer
from benchmarks.ssh.board import frames
from compress.command.lifetime import end_with_parent


def serve(folder: Path, *, channel: int, cpus: str | None, commands: IO[bytes], answers: IO[bytes]) -> None:
    """Answers until the commands end. `cpus` are the cores to run on, such as `4-7`; None for all."""
    end_with_parent(os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if cpus is not None:
        os.sched_setaffinity(0, machine.parse_ranges(cpus))
    served = _OnBoard(folder)
    while (message := frames.read(commands)) is not None:
        outcome, value = answer(served, message.header["command"], tuple(message.header["arguments"]))
        header: dict[str, Any] = {"outcome": outcome}
        payload = b""
        if isinstance(value, _Arrays):
            header["arrays"], payload = frames.pack(value.arrays)
            header["value"] = value.value
        else:
            header["value"] = value
        frames.write(answers, frames.Message(channel=channel, header=header, payload=payload))


class _Arrays:
    """Arrays, and a value of JSON."""

    def __init__(self, arrays: list[np.ndarray], value: object = None) -> None:
        self.arrays, self.value = arrays, value


class _OnBoard:
    """The commands with arguments and values of JSON; clips are files in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._served = Served()

    def load(self, file: dict[str, Any], threads: int) -> str:
        return self._served.load(_file(file, self._folder), threads)

    def hold(self, inputs: dict[str, Any]) -> None:
        self._served.hold(self._arrays(inputs))

    def time_runs(self, count: int) -> _Arrays:
        elapsed_ns = self._served.time_runs(count)
        # Read at once: the cores slow down as soon as they have nothing to do.
        clock_mhz = machine.clock_mhz(machine.usable_cpus())
        return _Arrays([elapsed_ns], {"clock_mhz": clock_mhz, "temperature_c": machine.temperature_c()})

    def infer(self, inputs: dict[str, Any]) -> _Arrays:
        return _Arrays(self._served.infer(self._arrays(inputs)))

    def memory(self) -> dict[str, int]:
        return asdict(self._served.memory())

    def _arrays(self, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        """The arrays of files `{path, dtype, shape}` by name."""
        return {
            name: np.fromfile(self._folder / row["path"], row["dtype"]).reshape(row["shape"])
            for name, row in inputs.items()
        }


def _file(row: dict[str, Any], folder: Path) -> ExportedFile:
    inputs, outputs = (
        tuple(FileTensor(**{**tensor, "shape": tuple(tensor["shape"])}) for tensor in row[side])
        for side in ("inputs", "outputs")
    )
    return ExportedFile(**{**row, "path": folder / row["path"], "inputs": inputs, "outputs": outputs})
