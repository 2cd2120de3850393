"""Reads what a run has measured: its report, its exported files, and its predictions for each clip.

The folder of a baseline has the same files, so both are read alike.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exported import Exported, read_export
from benchmarks.files import ExportedFile, FileId
from benchmarks.predictions import FOLDER as PREDICTIONS
from benchmarks.predictions import TORCH
from compress.folders.ledger import Ledger
from compress.report.read import read_report
from compress.report_shape import Report
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class Clips:
    """The test clips, in order."""

    files: tuple[str, ...]
    """File of each clip, relative to the common folder."""
    spans: tuple[tuple[str, str], ...]
    """Start and end in seconds, empty for whole files."""
    labels: np.ndarray
    """Class indices, `N` x label columns."""
    digest: str
    """Hash over the decoded clips and the labels."""

    def __len__(self) -> int:
        return len(self.files)

    def name(self, number: int) -> str:
        """A clip as its file, with the span if it is a part of it."""
        start, end = self.spans[number]
        return f"{self.files[number]} [{start} to {end} s]" if start or end else self.files[number]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A run or a baseline."""

    folder: Path
    report: Report
    exported: Exported
    sha256: Mapping[FileId, str]
    """Of every file that was exported."""
    coverage: Mapping[FileId, float]
    """Share of the multiply-adds in accelerated kernels, where known."""
    clips: Clips
    answers: Mapping[str, Mapping[str, np.ndarray]]
    """Logits `N K` by label column, for every file (`onnx.w8a8`; on further devices `onnx.w8a8.board`) and network
    (`torch.w8a8`) that ran."""

    @property
    def spec(self) -> ClipSpec:
        """The spec of the exported network."""
        return self.exported.clip_spec()

    def file(self, one: FileId) -> ExportedFile | None:
        """An exported file; None if there is none that can be measured."""
        found = (file for file in self.exported.files if file.id == one and file.missing is None)
        return next(found, None)


def run_folder_of(given: Path) -> Path:
    """The folder of a run, given by itself or by its `report.json`. Raises FileNotFoundError."""
    folder = given.parent if given.name == "report.json" else given
    if not (folder / "report.json").is_file():
        raise FileNotFoundError(
            f"{given}: has no report.json; give the folder of a finished run, out/<recipe name>"
        )
    return folder


def read_measured(folder: Path) -> Measured:
    """Reads the folder of a run or of a baseline.

    Raises FileNotFoundError for a missing part, and ValueError for one that has changed since it was written, or
    that cannot be read. Nothing is unpickled.
    """
    report = read_report(folder / "report.json")
    exported = read_export(folder / "export")
    spec = exported.clip_spec()
    rows = json.loads((folder / "export" / "manifest.json").read_text(encoding="utf-8"))["files"]
    ids = [FileId(row["format"], row["scheme"]) for row in rows]
    names, digest = _intact_predictions(folder / PREDICTIONS)
    clips = _read_clips(folder / PREDICTIONS / f"{names[0]}.csv", spec, digest=digest)
    answers = {
        name: _read_logits(folder / PREDICTIONS / f"{name}.npz", spec, clips=len(clips)) for name in names
    }
    return Measured(
        folder=folder,
        report=report,
        exported=exported,
        sha256={one: row["sha256"] for one, row in zip(ids, rows, strict=True) if row.get("sha256")},
        coverage={
            one: float(row["coverage"]["share"])
            for one, row in zip(ids, rows, strict=True)
            if row.get("coverage") and row["coverage"].get("share") is not None
        },
        clips=clips,
        answers=answers,
    )


def is_network(name: str) -> bool:
    """Whether answers are those of a torch network, not of a file."""
    return name.startswith(f"{TORCH}.")


def file_of(name: str) -> FileId:
    """The file of answers, `onnx.w8a8`, or `onnx.w8a8.board` on another device than the first."""
    return FileId(*name.split(".")[:2])


def _intact_predictions(folder: Path) -> tuple[list[str], str]:
    """Names of the files and networks with predictions, and the digest of the clips."""
    ledger = Ledger.read(folder)
    if ledger is None:
        raise FileNotFoundError(
            f"{folder}: there are no predictions for each clip; a run of this version of Pocketreel writes them"
        )
    damage = ledger.fault()
    if damage is not None:
        raise ValueError(f"{damage}: the predictions are not those that were measured; measure again")
    names = sorted(name.removesuffix(".npz") for name in ledger.files if name.endswith(".npz"))
    digest = ledger.about.get("parts", {}).get("clips")
    if not names or not isinstance(digest, str):
        raise ValueError(f"{folder}: no file was measured on clips, so there is nothing to compare")
    return names, digest.removeprefix("sha256:")


def _read_clips(table: Path, spec: ClipSpec, *, digest: str) -> Clips:
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8", errors="surrogateescape"))))
    try:
        labels = [[label.classes.index(row[label.name]) for label in spec.labels] for row in rows]
        return Clips(
            files=tuple(row["path"] for row in rows),
            spans=tuple((row["start_s"], row["end_s"]) for row in rows),
            labels=np.array(labels).reshape(len(rows), len(spec.labels)),
            digest=digest,
        )
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{table}: does not have the label columns and classes of the export ({error}): measure again"
        ) from error


def _read_logits(path: Path, spec: ClipSpec, *, clips: int) -> dict[str, np.ndarray]:
    """Logits by label column."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found: dict[str, Any] = {
                label.name: arrays[output] for output, label in zip(spec.outputs, spec.labels, strict=True)
            }
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read as the logits of this export ({error})") from error
    for label in spec.labels:
        values, shape = found[label.name], (clips, len(label.classes))
        if values.shape != shape or values.dtype != np.float32:
            raise ValueError(
                f"{path}: column {label.name} has {values.dtype} {list(values.shape)}; expected is float32 "
                f"{list(shape)}"
            )
    return found
