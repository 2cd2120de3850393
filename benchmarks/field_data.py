"""Labelled clips of a user, preprocessed for exported files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from benchmarks.clips.cache import MAX_UNREADABLE_SHARE, ClipSet, open_clips
from benchmarks.clips.limits import USUAL, Limits
from benchmarks.clips.rows import ClipRow, read_folder, read_manifest
from benchmarks.latency import Progress
from models.spec import ClipSpec

_NAMES_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class FieldData:
    """A data set and the selection of its clips."""

    path: Path
    """A manifest (CSV) or a folder `root/split/class/clip.mp4`."""
    split: str = "test"
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Keep only the rows of the manifest with these values, by column."""
    exclude: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Exclude the rows of the manifest with these values, by column."""
    pad_s: float = 0.0
    """Seconds by which the spans of the manifest are extended on both sides."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    max_unreadable_share: float = MAX_UNREADABLE_SHARE
    """Largest share of clips that `skip` may exclude."""
    missing_audio: Literal["refuse", "silence"] = "refuse"
    limits: Limits = USUAL


def open_field_data(
    data: FieldData, spec: ClipSpec, *, cache: Path, workers: int, progress: Progress | None = None
) -> ClipSet:
    """The clips of `data`, decoded and labelled as defined by `spec`.

    Raises what the clip readers raise, and ValueError for an empty split, an unknown class, and missing captions.
    """
    rows = field_rows(data, spec)
    if spec.text is not None and not any(row.text for row in rows):
        raise ValueError(f"{data.path}: the files take text, but no row has a caption in the column 'text'")
    return open_clips(
        rows,
        spec,
        cache=cache,
        workers=workers,
        unreadable=data.unreadable,
        max_unreadable_share=data.max_unreadable_share,
        missing_audio=data.missing_audio,
        limits=data.limits,
        progress=None if progress is None else lambda done, total: progress("clips", done, total),
    )


def field_rows(data: FieldData, spec: ClipSpec) -> list[ClipRow]:
    """The rows of the split; raises as `open_field_data` does."""
    rows = [row for row in _rows(data, spec) if row.split == data.split]
    if not rows:
        there = Counter(row.split for row in _rows(data, spec))
        listed = ", ".join(f"{split} ({count})" for split, count in there.items())
        raise ValueError(f"{data.path}: no clips in split {data.split!r}; available: {listed}")
    _check_classes(rows, spec, where=data.path)
    return rows


def _rows(data: FieldData, spec: ClipSpec) -> list[ClipRow]:
    if not data.path.exists():
        raise FileNotFoundError(f"{data.path}: no such manifest (CSV) or folder (root/split/class/clip.mp4)")
    names = [label.name for label in spec.labels]
    if data.path.is_file():
        return read_manifest(
            data.path, labels=names, where=data.where, exclude=data.exclude, pad_s=data.pad_s
        )
    if len(names) > 1:
        raise ValueError(
            f"{data.path}: is a folder, which has one class per clip; the files have {len(names)} label columns "
            f"({', '.join(names)}): pass a manifest (CSV) with these columns"
        )
    if data.where or data.exclude or data.pad_s:
        raise ValueError(f"{data.path}: --where, --exclude and --pad-s need a manifest (CSV), not a folder")
    return [replace(row, labels={names[0]: row.labels["class"]}) for row in read_folder(data.path)]


def _check_classes(rows: Sequence[ClipRow], spec: ClipSpec, *, where: Path) -> None:
    for label in spec.labels:
        unknown = Counter(
            row.labels[label.name] for row in rows if row.labels[label.name] not in label.classes
        )
        if unknown:
            raise ValueError(
                f"{where}: label {label.name!r} has classes unknown to the files: {_few(unknown)} "
                f"({unknown.total()} of {len(rows)} clips); known are {_few(label.classes)}. Rename them, or "
                "exclude them with --exclude COLUMN=VALUE"
            )


def _few(names: Sequence[str] | Counter[str]) -> str:
    shown = ", ".join(list(names)[:_NAMES_SHOWN])
    return shown + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
