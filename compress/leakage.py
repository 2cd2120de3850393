"""Finds files and clips that are in two splits, and clips with contradictory labels.

Files are compared by content, because one file may have several paths: links, spellings, copies.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.clips.rows import SPLITS, ClipRow, listed

_SAME_TIME_S = 1e-3
"""Smaller overlaps of spans are ignored."""

Contents = Mapping[Path, str]
"""An identifier of the content of each file, by path."""


def content_ids(contents: Mapping[Path, str | None]) -> Contents:
    """Content identifiers from the SHA-256 of each file; an unreadable file is identified by its path."""
    return {path: sha256 or f"path {path}" for path, sha256 in contents.items()}


def leaks(rows: Sequence[ClipRow], content: Contents) -> list[tuple[ClipRow, ClipRow]]:
    """Pairs of clips of different splits with overlapping content; one per clip and split."""
    pairs = []
    for group in _by_content(rows, content).values():
        if len({row.split for row in group}) < 2:
            continue
        longest: dict[str, ClipRow] = {}
        for row in sorted(group, key=_span):
            start_s, end_s = _span(row)
            pairs += [
                _in_order(other, row)
                for split, other in longest.items()
                if split != row.split and _span(other)[1] > start_s + _SAME_TIME_S
            ]
            if row.split not in longest or _span(longest[row.split])[1] < end_s:
                longest[row.split] = row
    return pairs


def shared_files(rows: Sequence[ClipRow], content: Contents) -> list[tuple[ClipRow, ClipRow]]:
    """Pairs of clips of different splits that are cut from one file or its copies; one per file and split."""
    pairs = []
    for group in _by_content(rows, content).values():
        first: dict[str, ClipRow] = {}
        for row in sorted(group, key=lambda row: SPLITS.index(row.split)):
            first.setdefault(row.split, row)
        one, *others = first.values()
        pairs += [(one, other) for other in others]
    return pairs


def _in_order(a: ClipRow, b: ClipRow) -> tuple[ClipRow, ClipRow]:
    """The clip of the training split first."""
    return (a, b) if SPLITS.index(a.split) < SPLITS.index(b.split) else (b, a)


def contradictions(rows: Sequence[ClipRow], content: Contents) -> list[tuple[ClipRow, ClipRow]]:
    """Pairs of clips with equal content and span but different labels."""
    pairs = []
    for group in _by_content(rows, content).values():
        first: dict[tuple[float, float], ClipRow] = {}
        for row in group:
            before = first.setdefault(_span(row), row)
            if before.labels != row.labels:
                pairs.append((before, row))
    return pairs


def leak_message(pairs: Sequence[tuple[ClipRow, ClipRow]], *, root: Path) -> str:
    """Lists clips that are in two splits, one per line."""
    lines = [f"{_called(a, root)} in {a.split} and {_called(b, root)} in {b.split}" for a, b in pairs]
    return f"{len(pairs)} clips are in two splits, by path, link or content\n{listed(lines)}"


def shared_message(pairs: Sequence[tuple[ClipRow, ClipRow]], *, root: Path) -> str:
    """Lists files with clips in two splits, one per line."""
    lines = [f"{_called(a, root)} in {a.split} and {_called(b, root)} in {b.split}" for a, b in pairs]
    return f"{len(pairs)} files have clips in two splits, which do not overlap\n{listed(lines)}"


def contradiction_message(pairs: Sequence[tuple[ClipRow, ClipRow]], *, root: Path) -> str:
    """Lists clips with contradictory labels, one per line."""
    lines = []
    for a, b in pairs:
        differing = [name for name, given in a.labels.items() if b.labels.get(name) != given]
        differences = ", ".join(f"{name} {a.labels[name]!r} and {b.labels[name]!r}" for name in differing)
        lines.append(f"{_called(a, root)} and {_called(b, root)}: {differences}")
    return f"{len(pairs)} clips have contradictory labels\n{listed(lines)}"


def _by_content(rows: Sequence[ClipRow], content: Contents) -> dict[str, list[ClipRow]]:
    groups: dict[str, list[ClipRow]] = defaultdict(list)
    for row in rows:
        groups[content[row.path]].append(row)
    return groups


def _span(row: ClipRow) -> tuple[float, float]:
    """Start and end of a clip, as far as known without opening the file."""
    start_s = 0.0 if row.start_s is None else max(0.0, row.start_s - row.pad_s)
    return start_s, math.inf if row.end_s is None else row.end_s + row.pad_s


def _called(row: ClipRow, root: Path) -> str:
    path = row.path.relative_to(root) if row.path.is_relative_to(root) else row.path
    if row.start_s is None and row.end_s is None:
        return str(path)
    return f"{path} ({row.start_s or 0:g}..{'end' if row.end_s is None else f'{row.end_s:g}'} s)"
