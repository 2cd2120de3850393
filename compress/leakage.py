"""Clips that are in two splits at once, and clips that are labelled twice with different classes.

The same file may go by several names: links, other spellings of its path, copies. What counts is its content: files
of one size whose first and last 64 KiB agree are read whole and compared by SHA-256, all others are not.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.clips.rows import SPLITS, ClipRow, listed

_ENDS_BYTES = 65_536
_SAME_TIME_S = 1e-3
"""Spans that overlap by less only touch."""

Contents = Mapping[Path, str]
"""What stands for a file's content, by its path: equal for equal files."""


def contents(paths: Iterable[Path]) -> dict[Path, str]:
    """What stands for the content of each file; a file that cannot be read stands for itself."""
    found: dict[Path, str] = {}
    of_size: dict[int, dict[tuple[int, int], list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in dict.fromkeys(paths):
        try:
            facts = path.stat()
        except OSError:
            found[path] = f"path {path}"
            continue
        of_size[facts.st_size][facts.st_dev, facts.st_ino].append(path)
    for files in of_size.values():
        names = {place: f"file {place[0]} {place[1]}" for place in files}
        for alike in _groups(files, _ends) if len(files) > 1 else ():
            for same in _groups(alike, _whole):
                names.update(dict.fromkeys(same, names[next(iter(same))]))
        for place, spellings in files.items():
            found.update(dict.fromkeys(spellings, names[place]))
    return found


_Files = Mapping[tuple[int, int], list[Path]]


def _groups(files: _Files, digest: Callable[[Path], bytes]) -> list[_Files]:
    """The files that have a digest in common, two or more in each group; those that cannot be read are in none."""
    groups: dict[bytes, dict[tuple[int, int], list[Path]]] = defaultdict(dict)
    for place, spellings in files.items():
        try:
            groups[digest(spellings[0])][place] = spellings
        except OSError:
            continue
    return [group for group in groups.values() if len(group) > 1]


def _ends(path: Path) -> bytes:
    with path.open("rb") as file:
        first = file.read(_ENDS_BYTES)
        file.seek(max(0, path.stat().st_size - _ENDS_BYTES))
        return hashlib.sha256(first + file.read(_ENDS_BYTES)).digest()


def _whole(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def leaks(rows: Sequence[ClipRow], content: Contents) -> list[tuple[ClipRow, ClipRow]]:
    """Pairs of clips of different splits that show the same content at once; one for a clip and a split."""
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


def _in_order(a: ClipRow, b: ClipRow) -> tuple[ClipRow, ClipRow]:
    """The clip of the training split first."""
    return (a, b) if SPLITS.index(a.split) < SPLITS.index(b.split) else (b, a)


def contradictions(rows: Sequence[ClipRow], content: Contents) -> list[tuple[ClipRow, ClipRow]]:
    """Pairs of clips of the same span of the same content whose labels differ."""
    pairs = []
    for group in _by_content(rows, content).values():
        first: dict[tuple[float, float], ClipRow] = {}
        for row in group:
            before = first.setdefault(_span(row), row)
            if before.labels != row.labels:
                pairs.append((before, row))
    return pairs


def leak_message(pairs: Sequence[tuple[ClipRow, ClipRow]], *, root: Path) -> str:
    """Which clips are in two splits at once, one a line."""
    lines = [f"{_called(a, root)} in {a.split} and {_called(b, root)} in {b.split}" for a, b in pairs]
    return f"{len(pairs)} clips are in two splits at once, by path, link or content\n{listed(lines)}"


def contradiction_message(pairs: Sequence[tuple[ClipRow, ClipRow]], *, root: Path) -> str:
    """Which clips are labelled in two ways, one a line."""
    lines = []
    for a, b in pairs:
        differing = [name for name, given in a.labels.items() if b.labels.get(name) != given]
        said = ", ".join(f"{name} {a.labels[name]!r} and {b.labels[name]!r}" for name in differing)
        lines.append(f"{_called(a, root)} and {_called(b, root)}: {said}")
    return f"{len(pairs)} clips are labelled in two ways\n{listed(lines)}"


def _by_content(rows: Sequence[ClipRow], content: Contents) -> dict[str, list[ClipRow]]:
    groups: dict[str, list[ClipRow]] = defaultdict(list)
    for row in rows:
        groups[content[row.path]].append(row)
    return groups


def _span(row: ClipRow) -> tuple[float, float]:
    """Start and end of a clip as it is decoded, as far as that is known without opening the file."""
    start_s = 0.0 if row.start_s is None else max(0.0, row.start_s - row.pad_s)
    return start_s, math.inf if row.end_s is None else row.end_s + row.pad_s


def _called(row: ClipRow, root: Path) -> str:
    path = row.path.relative_to(root) if row.path.is_relative_to(root) else row.path
    if row.start_s is None and row.end_s is None:
        return str(path)
    return f"{path} ({row.start_s or 0:g}..{'end' if row.end_s is None else f'{row.end_s:g}'} s)"
