"""Exported files as data: identity, inputs and outputs. Imports only NumPy, for worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

AXES = "NCTHWMBLK"
"""Axis letters in canonical order (clips `NCTHW`, audio `NCMB`, tokens `NL`); a file may have another order."""

_FED_DTYPES = ("float32", "float16", "int64", "int32")


class FileId(NamedTuple):
    """Identifies a file of an export."""

    format: str
    scheme: str

    def __str__(self) -> str:
        return f"{self.format}.{self.scheme}"


@dataclass(frozen=True, kw_only=True)
class FileTensor:
    """One input or output of a file as in `manifest.json`; `layout` has one letter per axis."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    value_range: tuple[float, float] | None = None

    @property
    def canonical_shape(self) -> tuple[int, ...]:
        """The shape in canonical order of axes."""
        return tuple(self.shape[self.layout.index(axis)] for axis in sorted(self.layout, key=AXES.index))

    def arrange(self, array: np.ndarray) -> np.ndarray:
        """Converts the canonical input (`1 ...`) of one clip to the layout and dtype of this tensor, contiguous.

        Raises ValueError when the layout does not name every axis, the dtype is unsupported, or the resulting shape
        differs from that of the file.
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
            raise ValueError(f"input {self.name!r} has dtype {self.dtype!r}; supported are {known}")
        moved = np.transpose(array, [canonical.index(axis) for axis in self.layout])
        if moved.shape != self.shape:
            raise ValueError(
                f"input {self.name!r} has shape {list(self.shape)} ({self.layout}), but the clip has "
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
    """The exporter's reason why the file cannot be measured: not written, or misses its pass criterion; else
    None."""
    macs: int | None = None
    """Multiply-adds of one inference, if the exporter counted them."""
    entry: str | None = None
    """Entry point of the program in the file (a signature or a method); None for the program for clips."""
    states: Mapping[str, str] = field(default_factory=dict)
    """Of a step program: state inputs -> outputs with their next values, or inputs whose current values become the
    next values."""
    step: ExportedFile | None = None
    """The step program of a streaming network, in the same or in another file."""

    @property
    def id(self) -> FileId:
        """Format and scheme of the file."""
        return FileId(self.format, self.scheme)

    @property
    def title(self) -> str:
        """Short name for messages, such as `onnx/w8a8/model.onnx`."""
        return "/".join(self.path.parts[-3:])
