"""A written file, opened by the program that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """The result of `open_file(path, *, entry, outputs)`, a function in the module `runner` of every format.

    `entry` is the file's own name of the program to run, None for the program for clips; `outputs` has the names of
    the outputs.
    """

    runner: str
    """Name and version of the program that runs the file."""
    run: Callable[[dict[str, np.ndarray]], list[np.ndarray]]
    """Maps the inputs of the file by name to its outputs in the order of `outputs`, both in the layout and dtype of
    the file."""
