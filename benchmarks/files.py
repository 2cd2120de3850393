"""An exported file as data: what it is, what it takes, what it gives. Imports NumPy alone, for worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

AXES = "NCTHWMBLK"
"""Axis letters in the order in which inputs are kept (clips `NCTHW`, sound `NCMB`, tokens `NL`); a file may ask for
its axes in another order."""

_FED_DTYPES = ("float32", "float16", "int64", "int32")


class FileId(NamedTuple):
    """What tells the files of one export apart."""

    format: str
    scheme: str

    def __str__(self) -> str:
        return f"{self.format}.{self.scheme}"


@dataclass(frozen=True, kw_only=True)
class FileTensor:
    """One input or output of a file, as `manifest.json` gives it; `layout` has one letter per axis."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    value_range: tuple[float, float] | None = None

    @property
    def canonical_shape(self) -> tuple[int, ...]:
        """Sizes of the axes in canonical order."""
        return tuple(self.shape[self.layout.index(axis)] for axis in sorted(self.layout, key=AXES.index))

    def arrange(self, array: np.ndarray) -> np.ndarray:
        """One clip's canonical input (`1 ...`) in this tensor's layout and dtype, contiguous.

        Raises ValueError when the layout does not name every axis, the dtype is not one that is fed here, or the
        resulting shape is not the file's.
        """
        letters = set(self.layout)
        if letters - set(AXES) or not len(letters) == len(self.layout) == array.ndim:
            raise ValueError(
                f"input {self.name!r} has layout {self.layout!r}; it must name each of its {array.ndim} axes by "
                f"one letter of {AXES}"
            )
        canonical = sorted(self.layout, key=AXES.index)
        if self.dtype not in _FED_DTYPES:
            known = ", ".join(_FED_DTYPES)
            raise ValueError(f"input {self.name!r} has dtype {self.dtype!r}; inputs are fed as {known}")
        moved = np.transpose(array, [canonical.index(axis) for axis in self.layout])
        if moved.shape != self.shape:
            raise ValueError(
                f"input {self.name!r} takes shape {list(self.shape)} ({self.layout}), but the clip gives "
                f"{list(moved.shape)}"
            )
        return np.ascontiguousarray(moved, dtype=self.dtype)


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """One row of the manifest's `files`."""

    format: str
    scheme: str
    path: Path
    size_bytes: int
    inputs: tuple[FileTensor, ...]
    outputs: tuple[FileTensor, ...]
    missing: str | None = None
    """Why there is nothing to measure, in the exporter's words: no file, or a wrong one; None when there is one."""
    macs: int | None = None
    """Multiply-adds of one run, where the exporter has counted them."""
    entry: str | None = None
    """Which program of the file this is (a signature, or a method); None for the one for clips."""
    states: Mapping[str, str] = field(default_factory=dict)
    """Of a program for one frame: inputs that are its state -> outputs that hold their next values, or the inputs
    whose present values those are."""
    step: ExportedFile | None = None
    """The program for one frame of a network that streams, in the same file or in one beside it."""

    @property
    def id(self) -> FileId:
        """Its format and scheme."""
        return FileId(self.format, self.scheme)

    @property
    def title(self) -> str:
        """Short name for messages, such as `onnx/w8a8/model.onnx`."""
        return "/".join(self.path.parts[-3:])
