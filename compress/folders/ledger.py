"""The ledger of a folder: the list of files written by Pocketreel. No other file is ever removed or replaced.

A name is added to the ledger before the file is written, so that files of a killed process are listed, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from compress.folders.writing import (
    TEMPORARY,
    Damaged,
    Fingerprint,
    fingerprint,
    read_sealed_json,
    write_sealed_json,
)

LEDGER, COPY = ".pocketreel.json", ".pocketreel.copy.json"
"""The copy replaces a damaged ledger."""

LOCK, HOLDER = ".pocketreel.lock", ".pocketreel.holder.json"
"""Lock of a folder for one process at a time."""

OWN_NAMES = ".pocketreel.*"
"""Names of ledgers, locks and temporary files."""


class FolderRefused(ValueError):
    """A folder that cannot be written without changing files that are not Pocketreel's."""


@dataclass(kw_only=True)
class Ledger:
    """Pocketreel's files in one folder, by relative path."""

    folder: Path
    kind: str
    """Kind of content: `run`, `result`, `export`."""
    files: dict[str, Fingerprint | None] = field(default_factory=dict)
    """Files with their fingerprints, which are set when they are finished."""
    writing: tuple[str, ...] = ()
    """Patterns of names that are being written."""
    about: dict[str, Any] = field(default_factory=dict)
    damage: str | None = None
    """Reason why the copy was used."""

    @classmethod
    def read(cls, folder: Path) -> Ledger | None:
        """Reads the ledger of a folder; None if there is none, and the folder is not Pocketreel's.

        Raises `FolderRefused` for a symbolic link, and if ledger and copy are both damaged.
        """
        refuse_link(folder)
        damage: list[str] = []
        for path in (folder / LEDGER, folder / COPY):
            if path.is_symlink() or not path.is_file():
                continue
            try:
                return cls._of(folder, read_sealed_json(path), damage=damage)
            except (Damaged, KeyError, TypeError, AttributeError) as error:
                damage.append(str(error))
        if damage:
            raise FolderRefused(
                f"{damage[0]}; the list of Pocketreel's files in {folder} is lost: move the folder away, or choose "
                "another"
            )
        return None

    @classmethod
    def _of(cls, folder: Path, content: Mapping[str, Any], *, damage: Sequence[str]) -> Ledger:
        files = {name: None if one is None else Fingerprint(*one) for name, one in content["files"].items()}
        return cls(
            folder=folder,
            kind=content["kind"],
            files=files,
            writing=tuple(content["writing"]),
            about=content["about"],
            damage=damage[0] if damage else None,
        )

    def save(self) -> None:
        """Writes the ledger and its copy."""
        content = {
            "project": "pocketreel",
            "kind": self.kind,
            "about": self.about,
            "writing": self.writing,
            "files": self.files,
        }
        for name in (COPY, LEDGER):
            write_sealed_json(self.folder / name, content)
        self.damage = None

    def lists(self, name: str) -> bool:
        """Whether a path in the folder is listed."""
        return (
            name in self.files
            or name in (LEDGER, COPY)
            or fnmatchcase(PurePosixPath(name).name, TEMPORARY)
            or matches(name, self.writing)
        )

    def ours(self) -> list[str]:
        """The listed files that exist, without the ledger itself and without links."""
        return [
            name
            for name in entries(self.folder)
            if self.lists(name) and name not in (LEDGER, COPY) and not (self.folder / name).is_symlink()
        ]

    def finish(self, **about: Any) -> None:
        """Stores the fingerprints of all listed files, which marks them as finished."""
        self.clear(temporary_alone=True)
        self.files = {name: fingerprint(self.folder / name) for name in self.ours()}
        self.writing = ()
        self.about |= about
        self.save()

    def fault(self) -> str | None:
        """Describes the first file that has changed since it was written; None if none has."""
        for name, expected in self.files.items():
            path = self.folder / name
            if path.is_symlink() or not path.is_file():
                return f"{path} is missing"
            if expected is None:
                return f"{path} is unfinished"
            size = path.stat().st_size
            if size != expected.size_bytes:
                return f"{path} has {size} bytes instead of {expected.size_bytes}"
            try:
                found = fingerprint(path)
            except OSError as error:
                return f"{path} cannot be read ({error.strerror})"
            if found != expected:
                return f"{path} is damaged (its SHA-256 has changed)"
        return None

    def clear(self, *, temporary_alone: bool = False) -> None:
        """Removes the listed files and empty folders, but not the ledger."""
        for name in self.ours():
            if temporary_alone and not fnmatchcase(PurePosixPath(name).name, TEMPORARY):
                continue
            path = self.folder / name
            path.unlink(missing_ok=True)
            _remove_empty(path.parent, until=self.folder)

    def remove(self) -> None:
        """Removes the listed files, the ledger, and the folder if it is empty."""
        self.clear()
        for name in (COPY, LOCK, HOLDER, LEDGER):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


def entries(folder: Path) -> Iterator[str]:
    """Sorted relative paths of all files and links below a folder; links are not followed."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in sorted([*files, *links]):
            yield (Path(parent) / name).relative_to(folder).as_posix()


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a path matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def own_name(name: str) -> bool:
    """Whether a path is a ledger, a lock or a temporary file."""
    return fnmatchcase(PurePosixPath(name).name, OWN_NAMES)


@contextmanager
def scratch_folder(folder: Path, names: Sequence[str]) -> Iterator[None]:
    """Reserves these names in the folder; the files are removed at the end, and kept after a failure.

    Raises `FolderRefused` if one of them exists and is not Pocketreel's.
    """
    check_names(folder, names)
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder=folder, kind="scratch", writing=tuple(names))
    ledger.save()
    yield
    ledger.remove()


def refuse_link(path: Path) -> None:
    """Raises `FolderRefused` for a symbolic link."""
    if path.is_symlink():
        raise FolderRefused(
            f"{path} is a symbolic link (to {path.readlink()}), which is never followed or replaced: "
            "remove it, or give the folder itself"
        )


def check_names(folder: Path, names: Sequence[str], *, ledger: Ledger | None = None) -> None:
    """Raises `FolderRefused` if a name that will be written is a link or exists and is not Pocketreel's.

    `names` are patterns of paths relative to `folder`.
    """
    refuse_link(folder)
    if folder.exists() and not folder.is_dir():
        raise FolderRefused(f"{folder} is a file, but a folder of that name is needed: move it away")
    if not folder.is_dir():
        return
    for name in names:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            raise FolderRefused(
                f"{folder / name} is a folder, but a file of that name would be written: move it away"
            )
    ledger = ledger or Ledger.read(folder)
    for name in entries(folder):
        path = folder / name
        if path.is_symlink() and (matches(name, names) or any(fnmatchcase(p, f"{name}/*") for p in names)):
            refuse_link(path)
        if own_name(name):
            continue
        if matches(name, names) and not (ledger and ledger.lists(name)):
            raise FolderRefused(
                f"{path} was not written by Pocketreel, but would be replaced: move it away, or choose another "
                "folder"
            )


def _remove_empty(folder: Path, *, until: Path) -> None:
    while folder != until:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent
