"""SHA-256 of files, cached by their metadata, so that a file is hashed once and not at every start.

A cached hash is used if path, size, times and inode of the file are unchanged since it was read, and if the file
was old enough at that time: a file that is written twice within the resolution of the clock has equal times for
both contents ("racily clean" in git).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from compress.folders.writing import Damaged, read_sealed_json, write_sealed_json

INDEX = ".pocketreel.contents.json"
"""Name of the index in a shared folder."""

_RESTED_NS = 2_000_000_000
"""Minimum age of a file for trusting its times: some file systems have a resolution of 2 s."""

Report = Callable[[int, int], None]
"""Called with the number of hashed files and their total."""

_Entries = dict[str, list[int | str]]
"""Metadata and hash by path."""


class _Facts(NamedTuple):
    """Metadata of a file."""

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
    """Hex SHA-256 of each file; None for an unreadable one. New hashes are stored in the file `index`.

    `report` is called with the number of hashed files and their total.
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
    """The hash of a file, added to `fresh` if its times can be trusted."""
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
    except (OSError, Damaged, KeyError):  # only costs time
        return {}
