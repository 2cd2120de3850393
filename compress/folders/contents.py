"""SHA-256 of files, found again by what their folder says of them: a file is read once, and not at every start.

The index is a speed-up only. A hash is taken from it when path, size, times and inode of the file are those of the
moment in which it was read, and when the file had rested by then: one that is written twice within the clock's
resolution shows the same times for both contents (what git calls racily clean).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from compress.folders.writing import Damaged, read_sealed_json, write_sealed_json

INDEX = ".pocketreel.contents.json"
"""Name of an index in a folder that several runs share."""

_RESTED_NS = 2_000_000_000
"""So long a file has to be left alone before its times can be trusted: some file systems count in steps of 2 s."""

Report = Callable[[int, int], None]
"""Called with the number of files done and of all files."""

_Entries = dict[str, list[int | str]]
"""Facts and hash by path."""


class _Facts(NamedTuple):
    """What a folder says of a file."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> _Facts:
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def contents_of(
    paths: Iterable[Path], *, index: Path, report: Report | None = None
) -> dict[Path, str | None]:
    """Hex SHA-256 of each file; None for one that cannot be read. What is hashed anew is noted in the file `index`.

    `report` is called with the number of files done and of all files.
    """
    wanted = list(dict.fromkeys(paths))
    known = _read(index)
    fresh: _Entries = {}
    found: dict[Path, str | None] = {}
    for number, path in enumerate(wanted):
        if report:
            report(number, len(wanted))
        try:
            found[path] = _from(known, path) or _hashed(path, fresh)
        except OSError:
            found[path] = None
    if report:
        report(len(wanted), len(wanted))
    if fresh:
        there = {name: entry for name, entry in _read(index).items() if Path(name).is_file()}
        write_sealed_json(index, {"files": {**there, **fresh}})
    return found


def _from(known: Mapping[str, list[int | str]], path: Path) -> str | None:
    *facts, sha256 = known.get(str(path.absolute()), [""])
    return str(sha256) if facts == [*_Facts.of(path)] else None


def _hashed(path: Path, fresh: _Entries) -> str:
    """The hash of a file, which goes into `fresh` where its times can be trusted."""
    began_ns = time.time_ns()
    before = _Facts.of(path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    rested = max(before.mtime_ns, before.ctime_ns) < began_ns - _RESTED_NS
    if rested and _Facts.of(path) == before:
        fresh[str(path.absolute())] = [*before, sha256]
    return sha256


def _read(index: Path) -> _Entries:
    try:
        return dict(read_sealed_json(index)["files"])
    except (OSError, Damaged, KeyError):  # it costs time, nothing else
        return {}
