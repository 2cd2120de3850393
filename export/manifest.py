"""What a written file expects and gives, as data for app developers: `manifest.json` and `model.json`.

The schema is documented field by field in `docs/export-manifest.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.description import describe
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One input or output of a file: name, shape, dtype and the meaning of its axes.

    `layout` has one letter per axis: N clips (always 1), C channels, T frames, H rows, W columns, M mel
    bands, B time bins, L tokens, K classes.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    value_range: tuple[float, float] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    """Set when the file itself computes `(x - mean) / std`; the caller must not do it again."""
    normalised_by: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the fields that do not apply."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class FileSpec:
    """What a file is to be called by its callers: inputs and outputs in order, classes, and its description.

    Shapes, layouts and dtypes are those of the *file*; the program handed to a writer always takes its clip
    as `N C T H W` and its text as int64, whatever `inputs` says here.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    classes: tuple[tuple[str, ...], ...] = ()
    """Class names of each output, in the order of its logits."""
    description: Mapping[str, Any]
    """Plain data written inside the file where the format allows: preparation, labels, provenance."""


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """What a writer gives back about the file it wrote."""

    path: Path
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    notes: tuple[str, ...] = ()
    """Facts a user of the file should know: partitions, nodes left to a slower backend, exceptions."""


def file_spec(
    spec: ClipSpec, *, clip_layout: str, token_dtype: str, provenance: Mapping[str, Any]
) -> FileSpec:
    """The `FileSpec` of a network that takes `spec`, for a format with this clip axis order and token type."""
    inputs = tuple(
        _input(spec, name, clip_layout=clip_layout, token_dtype=token_dtype) for name in spec.inputs
    )
    outputs = tuple(
        TensorInfo(name=name, shape=(1, len(label.classes)), dtype="float32", layout="NK")
        for name, label in zip(spec.outputs, spec.labels, strict=True)
    )
    return FileSpec(
        inputs=inputs,
        outputs=outputs,
        classes=tuple(label.classes for label in spec.labels),
        description=describe(spec, provenance=provenance),
    )


def _input(spec: ClipSpec, name: str, *, clip_layout: str, token_dtype: str) -> TensorInfo:
    if name == "text":
        assert spec.text is not None
        return TensorInfo(
            name=name,
            shape=spec.shape("text"),
            dtype=token_dtype,
            layout="NL",
            value_range=(0, len(spec.text.vocabulary) + 1),
        )
    if name == "audio":
        return TensorInfo(
            name=name, shape=spec.shape("audio"), dtype="float32", layout="NCMB", normalised_by="the caller"
        )
    assert spec.video is not None
    shape = dict(zip("NCTHW", spec.shape("clip"), strict=True))
    return TensorInfo(
        name=name,
        shape=tuple(shape[axis] for axis in clip_layout),
        dtype="float32",
        layout=clip_layout,
        value_range=(0, 1),
        mean=spec.video.mean,
        std=spec.video.std,
        normalised_by="the file",
    )


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file; of a folder, over relative path and content of every file in sorted order."""
    digest = hashlib.sha256()
    if path.is_file():
        digest.update(path.read_bytes())
        return digest.hexdigest()
    for part in sorted(part for part in path.rglob("*") if part.is_file()):
        digest.update(part.relative_to(path).as_posix().encode() + b"\0")
        digest.update(part.read_bytes())
    return digest.hexdigest()


def size_bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return (
        path.stat().st_size
        if path.is_file()
        else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    )
