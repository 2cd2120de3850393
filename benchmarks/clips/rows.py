"""Reads the list of clips: rows of a manifest (CSV) or files of a folder tree, validated before decoding."""

from __future__ import annotations

import csv
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from compress.folders.writing import naming

SPLITS = ("train", "validation", "test")
UNLABELED = "unlabeled"
"""Split of training clips without labels, which a student learns from its teacher alone."""
FAULTS_SHOWN = 20
"""Largest number of faults in a message; the others are counted."""


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """One clip: a span of a file, its split, one class per label column, its caption, and other cells.

    `start_s` and `end_s` are relative to the start of the file; `None` means the start or end of the file. A row
    with times is extended by `pad_s` on both sides, within the file.
    """

    path: Path
    split: str
    labels: dict[str, str] = field(default_factory=dict)
    text: str = ""
    start_s: float | None = None
    end_s: float | None = None
    pad_s: float = 0.0
    more: dict[str, str] = field(default_factory=dict)


def read_manifest(
    path: Path,
    *,
    labels: Sequence[str],
    more: Sequence[str] = (),
    where: Mapping[str, Sequence[str]] | None = None,
    exclude: Mapping[str, Sequence[str]] | None = None,
    text_column: str | None = "text",
    pad_s: float = 0.0,
) -> list[ClipRow]:
    """The rows of a CSV with columns `path, split, <label columns>` and optionally `text, start_s, end_s`.

    `path` cells are relative to the manifest's folder. `where` keeps only rows whose column has one of the values,
    `exclude` removes such rows; both are applied before validation. `text_column=None` ignores captions. The cells
    of the columns `more` are copied unchanged, also if empty.

    Rows of the split `unlabeled` have no labels; their cells are ignored.

    Raises FileNotFoundError if the file is missing, and ValueError listing every fault with its line: missing
    columns, values that no row has, unknown splits, empty labels of other splits, bad times, repeated rows,
    missing files.
    """
    path = Path(path)
    columns, lines = _read_csv(path)
    needed = ["path", "split", *labels, *more, *(where or {}), *(exclude or {})]
    if text_column not in (None, "text"):
        needed.append(text_column)
    _refuse(
        path, [_unknown("column", name, columns) for name in dict.fromkeys(needed) if name not in columns]
    )
    _refuse(path, _unused_values(lines, where) + _unused_values(lines, exclude))
    kept = [
        (number, cells)
        for number, cells in lines
        if all(cells[column] in values for column, values in (where or {}).items())
        and not any(cells[column] in values for column, values in (exclude or {}).items())
    ]
    if not kept:
        raise ValueError(f"{path}: no rows are left; the file has {len(lines)}, check `where` and `exclude`")

    faults: list[str] = []
    rows: list[ClipRow] = []
    first_line: dict[tuple[Path, str, float | None, float | None], tuple[int, ClipRow]] = {}
    for number, cells in kept:
        found: list[str] = []
        row = _parse(
            cells, labels=labels, folder=path.parent, text_column=text_column, pad_s=pad_s, fault=found.append
        )
        earlier, earlier_row = first_line.setdefault(
            (row.path, row.split, row.start_s, row.end_s), (number, row)
        )
        if earlier != number:
            found.append(
                f"repeats line {earlier} (same path, split, start_s and end_s){_differences(row, earlier_row)}"
            )
        faults += [f"line {number}: {text}" for text in found]
        rows.append(replace(row, more={name: cells[name] for name in more}))
    _refuse(path, faults)
    return rows


def read_folder(root: Path) -> list[ClipRow]:
    """The clips of `root/<split>/<class>/<file>`, with the label column `class`, and of `root/unlabeled/<file>`.

    Hidden files are ignored.

    Raises FileNotFoundError if the folder is missing, and ValueError listing every fault: unknown splits, files
    outside a class folder, folders inside one, no clips.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; source `folder` reads root/split/class/clip.mp4")
    faults: list[str] = []
    rows: list[ClipRow] = []
    for split in _visible(root):
        if split.name not in (*SPLITS, UNLABELED) or not split.is_dir():
            faults.append(_unknown("split folder", split.name, (*SPLITS, UNLABELED)))
            continue
        if split.name == UNLABELED:
            faults += [
                f"{clip.relative_to(root)} is a folder: put clips without labels directly into {UNLABELED}/"
                for clip in _visible(split)
                if clip.is_dir()
            ]
            rows += [ClipRow(path=clip.absolute(), split=UNLABELED) for clip in _visible(split)]
            continue
        for group in _visible(split):
            if not group.is_dir():
                faults.append(f"{group.relative_to(root)} is not a folder: put clips into split/class/")
                continue
            for clip in _visible(group):
                if clip.is_dir():
                    faults.append(
                        f"{clip.relative_to(root)} is a folder: put clips directly into split/class/"
                    )
                rows.append(ClipRow(path=clip.absolute(), split=split.name, labels={"class": group.name}))
    if not rows and not faults:
        faults.append("contains no clips; expected split/class/clip.mp4, split one of " + ", ".join(SPLITS))
    _refuse(root, faults)
    return rows


def listed(faults: Sequence[str]) -> str:
    """The faults as indented lines, at most `FAULTS_SHOWN`, then the number of the others."""
    shown = [f"  {fault}" for fault in faults[:FAULTS_SHOWN]]
    if len(faults) > FAULTS_SHOWN:
        shown.append(f"  ... and {len(faults) - FAULTS_SHOWN} more")
    return "\n".join(shown)


def _read_csv(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names, and the cells of every row with its line number."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such manifest; it is a CSV with columns path, split, <labels>")
    try:
        with naming(path), path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            records = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV in UTF-8: {error}; save it as comma-separated UTF-8") from None
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    faults = [f"column {name!r} appears twice: rename one of them" for name in repeated]
    faults += [
        f"line {number}: {len(cells)} cells, but the header has {len(columns)} columns"
        for number, cells in records
        if len(cells) != len(columns)
    ]
    if not records:
        faults.append("has no rows")
    _refuse(path, faults)
    return columns, [(number, dict(zip(columns, cells, strict=True))) for number, cells in records]


def _parse(
    cells: Mapping[str, str],
    *,
    labels: Sequence[str],
    folder: Path,
    text_column: str | None,
    pad_s: float,
    fault: Callable[[str], None],
) -> ClipRow:
    """Parses one row; `fault` is called with every fault."""
    clip = (folder / cells["path"]).absolute()
    if not cells["path"]:
        fault("path is empty")
    else:
        _check_file(clip, fault)
    if cells["split"] not in (*SPLITS, UNLABELED):
        fault(_unknown("split", cells["split"], (*SPLITS, UNLABELED)))
    labels = () if cells["split"] == UNLABELED else labels
    for name in labels:
        if cells[name].strip() != cells[name] or not cells[name]:
            fault(f"label {name} is {cells[name]!r}: give a class without spaces around it")
    start_s = _seconds(cells, "start_s", fault)
    end_s = _seconds(cells, "end_s", fault)
    if end_s is not None and end_s <= (start_s or 0.0):
        fault(f"end_s {end_s:g} is not after start_s {start_s or 0.0:g}")
    return ClipRow(
        path=clip,
        split=cells["split"],
        labels={name: cells[name] for name in labels},
        text=cells.get(text_column, "") if text_column else "",
        start_s=start_s,
        end_s=end_s,
        pad_s=pad_s,
    )


def _check_file(clip: Path, fault: Callable[[str], None]) -> None:
    """Reports a missing clip, or an invalid path: too long, or with a NUL."""
    try:
        if not clip.exists():
            fault(f"no such file: {shortened(clip)}")
        elif not clip.is_file():
            fault(
                f"{shortened(clip)} is {'a folder' if clip.is_dir() else 'not a regular file'}: give a video"
            )
    except OSError as error:
        fault(f"no such file: {shortened(clip)} ({error.strerror})")


def shortened(path: Path) -> str:
    """A path for messages, shortened if it is long."""
    text = str(path)
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-80:]}"


def _differences(row: ClipRow, earlier: ClipRow) -> str:
    """The remedy for a row that repeats an earlier one."""
    differing = [
        f"{name} {earlier.labels[name]!r} and {given!r}"
        for name, given in row.labels.items()
        if earlier.labels[name] != given
    ]
    return (
        f" and contradicts it ({', '.join(differing)}): keep the correct one"
        if differing
        else ": keep one of them"
    )


def _seconds(cells: Mapping[str, str], column: str, fault: Callable[[str], None]) -> float | None:
    """The time in a cell; None if the cell is empty or the column is missing."""
    text = cells.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 <= value < math.inf:
        fault(f"{column} is {text!r}: give seconds from the start of the file, 0 or more")
        return None
    return value


def _unused_values(
    lines: Sequence[tuple[int, dict[str, str]]], filters: Mapping[str, Sequence[str]] | None
) -> list[str]:
    """Faults for filter values that no row has, usually misspellings."""
    faults = []
    for column, values in (filters or {}).items():
        present = sorted({cells[column] for _, cells in lines})
        faults += [
            _unknown(f"value in column {column}", value, present) for value in values if value not in present
        ]
    return faults


def _unknown(what: str, given: str, allowed: Sequence[str]) -> str:
    """`no column 'lable'; nearest: 'label' (available: ...)`."""
    near = difflib.get_close_matches(given, allowed, n=1)
    hint = f"; nearest: {near[0]!r}" if near else ""
    names = ", ".join(list(allowed)[:FAULTS_SHOWN]) + (", ..." if len(allowed) > FAULTS_SHOWN else "")
    return f"no {what} {given!r}{hint} (available: {names})"


def _visible(folder: Path) -> list[Path]:
    """Sorted entries of a folder without hidden ones."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _refuse(path: Path, faults: Sequence[str]) -> None:
    """Raises ValueError listing `faults`, if there are any."""
    if faults:
        raise ValueError(f"{path}: {len(faults)} fault{'s' * (len(faults) > 1)}\n{listed(faults)}")
