"""One invocation of a runner: what is asked of it, and what it reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.device import Memory
from benchmarks.files import ExportedFile

MODEL = "model"
"""Name of the exported file in its folder on the phone, without its suffix."""
_NO_MEMORY = Memory(peak_rss_bytes=None, model_rss_bytes=None)


class NoFigures(ValueError):
    """The output of a runner does not have the figures of a complete run."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One invocation: `count` measured inferences after `warm_up` others, in the folder of the file."""

    program: str
    file: ExportedFile
    threads: int
    count: int
    warm_up: int
    clip: int = 0
    """The clip whose inputs are read."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one invocation reported: times in nanoseconds, memory, and a note on what the times are."""

    elapsed_ns: np.ndarray
    """One value per inference; all are the same statistic of them where the runner prints no single times."""
    memory: Memory = _NO_MEMORY
    notes: tuple[str, ...] = ()


class Runner(Protocol):
    """A runner, for the files of one format."""

    name: str
    """Name of the program, and of the setting that has its path."""
    inputs: str
    """Folder that has the inputs, in the folder of the file."""
    result: str | None
    """File that the program writes its times to; None if it prints them."""

    def write_inputs(
        self, folder: Path, values: Mapping[str, np.ndarray], *, file: ExportedFile, clip: int
    ) -> None:
        """Writes the canonical inputs (`1 ...`) of one clip in the form that the program reads; by default as raw
        bytes, `CLIP-INPUT.bin`."""
        for index, tensor in enumerate(file.inputs):
            (folder / f"{clip}-{index}.bin").write_bytes(tensor.arrange(values[tensor.name]).tobytes())

    def command(self, job: Job) -> list[str]:
        """Program and arguments that time a file."""

    def infer_command(self, job: Job) -> list[str]:
        """Program and arguments that run one clip and write `outputs/CLIP-OUTPUT.bin`. Raises `Unavailable` with
        the reason if the program cannot."""

    def timing(self, printed: str, *, job: Job) -> Timing:
        """Reads the figures. Raises `NoFigures`."""

    def check_outputs(self, printed: str) -> None:
        """Raises `Unavailable` if the program said that it does not take inputs or write outputs."""


def nanoseconds(text: str | None, *, unit_ns: float) -> float:
    """A printed time in nanoseconds. Raises `NoFigures` for what is not a positive number."""
    try:
        value = float(text or "") * unit_ns
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise NoFigures(f"printed the time {text!r}, which is not a positive number")
    return value
