"""Inputs and outputs of a written file, as data for app developers: `manifest.json` and `model.json`.

The schema is documented field by field in `docs/export-manifest.md`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from export.chosen_form import ChosenForm
from export.description import describe
from export.verify.coverage.report import Coverage
from models.spec import ClipSpec, Modality


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
    """Set if the file itself computes `(x - mean) / std`; the caller must not do it again."""
    normalised_by: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the fields that do not apply."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def arranged(self, layout: str) -> TensorInfo:
        """The same tensor with its axes in the order `layout`."""
        sizes = dict(zip(self.layout, self.shape, strict=True))
        return replace(self, shape=tuple(sizes[axis] for axis in layout), layout=layout)


@dataclass(frozen=True, kw_only=True)
class FileSpec:
    """Inputs and outputs of a network or a file, in order, with classes and description.

    In a writer's spec, shapes, layouts and dtypes are those of the *file*; the program always takes clips as
    `N C T H W` and tokens as int64, whatever `inputs` specifies.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    classes: tuple[tuple[str, ...], ...] = ()
    """Class names of each output, in the order of its logits."""
    description: Mapping[str, Any]
    """Plain data stored in the file if the format allows it: preprocessing, labels, provenance."""
    states: Mapping[str, str] = field(default_factory=dict)
    """For a step program: state inputs -> outputs with their next values, or the inputs whose present values those
    are."""

    def arranged(self, *, clip_layout: str, token_dtype: str, flag_dtype: str = "bool") -> FileSpec:
        """The spec of a file that takes clips in this axis order, and integers and booleans in these types.

        A step program takes frames and states in the axis order of the file's clips.
        """
        layouts = {"NCTHW": clip_layout}
        if self.states:
            layouts["NCHW"] = clip_layout.replace("T", "")

        def arrange(info: TensorInfo) -> TensorInfo:
            layout = layouts.get(info.layout, info.layout)
            dtype = {"int64": token_dtype, "bool": flag_dtype}.get(info.dtype, info.dtype)
            return replace(info.arranged(layout), dtype=dtype)

        return replace(
            self, inputs=tuple(map(arrange, self.inputs)), outputs=tuple(map(arrange, self.outputs))
        )

    @property
    def network_outputs(self) -> tuple[TensorInfo, ...]:
        """The outputs that are not states."""
        return tuple(info for info in self.outputs if info.name not in self.states.values())


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """A writer's report on its file."""

    path: Path
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    notes: tuple[str, ...] = ()
    """Facts a user of the file should know: partitions, nodes left to a slower backend, exceptions."""
    coverage: Coverage | None = None
    """Where its runtime runs the operators; `None` if unknown, with the reason in a note."""
    reference_outputs: tuple[np.ndarray, ...] | None = None
    """Torch's outputs with the weights of the file, `N x shape` per output; `None` if the weights were not rounded
    before the writer, or no outputs were requested."""
    entry: str | None = None
    """The file's own name of the program: a signature, or a method; `None` in formats with one program per file."""
    step: WrittenFile | None = None
    """The step program of a streaming network, in the same file or in one next to it."""
    form: ChosenForm | None = None
    """The form of the network in the file, and how it was chosen; `None` if there is only one."""
    needs: str | None = None
    """What a processor or an application must provide for exact outputs; `None` if nothing."""
    saturating_layers: tuple[str, ...] = ()
    """The layers that can give other outputs without it."""


def file_spec(
    spec: ClipSpec, *, provenance: Mapping[str, Any], clip_layout: str = "NCTHW", token_dtype: str = "int64"
) -> FileSpec:
    """The `FileSpec` of a network with inputs `spec`; by default with torch's layout and token type."""
    inputs = tuple(_input(spec, name) for name in spec.inputs)
    outputs = tuple(
        TensorInfo(name=name, shape=(1, len(label.classes)), dtype="float32", layout="NK")
        for name, label in zip(spec.outputs, spec.labels, strict=True)
    )
    as_torch = FileSpec(
        inputs=inputs,
        outputs=outputs,
        classes=tuple(label.classes for label in spec.labels),
        description=describe(spec, provenance=provenance),
    )
    return as_torch.arranged(clip_layout=clip_layout, token_dtype=token_dtype)


def _input(spec: ClipSpec, name: Modality) -> TensorInfo:
    if name == "text":
        assert spec.text is not None
        words = len(spec.text.vocabulary)
        return TensorInfo(
            name=name, shape=spec.shape("text"), dtype="int64", layout="NL", value_range=(0, words + 1)
        )
    if name == "audio":
        return TensorInfo(
            name=name, shape=spec.shape("audio"), dtype="float32", layout="NCMB", normalised_by="the caller"
        )
    assert spec.video is not None
    return TensorInfo(
        name=name,
        shape=spec.shape("clip"),
        dtype="float32",
        layout="NCTHW",
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
