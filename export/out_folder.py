"""The folder of an export: which of its files belong to Pocketreel, and how those of a format are replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from compress.folders.ledger import FolderRefused, Ledger, check_names, entries, matches, refuse_link
from compress.folders.locks import held

LOG_FILE, MANIFEST_FILE = "convert.log", "manifest.json"


def place_of(name: str, scheme: str) -> str:
    """Path of the file of a format in a scheme within an export."""
    return f"{name}/{scheme}"


def export_names(places: Sequence[str]) -> tuple[str, ...]:
    """Patterns of the files that an export of these places writes into its folder."""
    folders = [folder for place in places for folder in (place, _partial_of(place))]
    return (MANIFEST_FILE, *(f"{folder}/{file}" for folder in folders for file in ("model*", LOG_FILE)))


def _partial_of(place: str) -> str:
    """Name of the folder in which the file of a place is written."""
    return f".{place.replace('/', '.')}.partial"


def check_folders(out: Path, places: Sequence[str] = ()) -> None:
    """Raises ValueError if `out` is not writable, or if a required name is not a file of Pocketreel."""
    nearest = next(path for path in (out, *out.absolute().parents) if os.access(path, os.F_OK))
    if not nearest.is_dir():
        raise FolderRefused(
            f"{nearest} is not a folder, so nothing can be written to {out}: choose another folder"
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise FolderRefused(f"{nearest} is not writable: choose another folder than {out}")
    refuse_link(out)
    for folder in dict.fromkeys(one for place in places for one in (out / Path(place).parts[0], out / place)):
        refuse_link(folder)
        if folder.exists() and not folder.is_dir():
            raise FolderRefused(f"{folder} is a file, and a folder of that name is needed: move it away")
    ledger = Ledger.read(out) if out.is_dir() else None
    if ledger is not None and ledger.kind != "export":
        raise FolderRefused(f"{out} is the folder of another kind of result: choose another folder")
    check_names(out, export_names(places), ledger=ledger)


@contextmanager
def export_folder(out: Path, places: Sequence[str]) -> Iterator[Ledger]:
    """The ledger of `out`, which is created if necessary and locked against other exports; finished at the end.

    Until then there is no manifest, which would be out of date.
    """
    check_folders(out, places)
    with held(out):
        ledger = Ledger.read(out) or Ledger(folder=out, kind="export")
        check_names(out, export_names(places), ledger=ledger)
        ledger.writing = tuple(dict.fromkeys([*ledger.writing, *export_names(places)]))
        ledger.about = {}
        ledger.save()
        (out / MANIFEST_FILE).unlink(missing_ok=True)
        yield ledger
        for partial in out.glob(".*.partial"):
            _clear(partial, ledger)
        ledger.finish()


@contextmanager
def adding(out: Path, names: Sequence[str]) -> Iterator[None]:
    """Locks an export folder, created if necessary, while files of these names are written into it.

    Raises `FolderRefused` if one of them exists and is not a file of Pocketreel, and while another command writes
    there.
    """
    with held(out):
        ledger = Ledger.read(out) or Ledger(folder=out, kind="export")
        check_names(out, names, ledger=ledger)
        ledger.writing = tuple(dict.fromkeys([*ledger.writing, *names]))
        ledger.save()
        yield
        ledger.finish()


def _clear(partial: Path, ledger: Ledger) -> None:
    """Removes the files of a killed export from a working folder."""
    refuse_link(partial)
    if partial.is_dir():
        for entry in entries(partial):
            if ledger.lists(f"{partial.name}/{entry}"):
                (partial / entry).unlink()
        _remove_empty_folders(partial)


def begin(place: str, ledger: Ledger) -> Path:
    """An empty working folder for one file."""
    partial = ledger.folder / _partial_of(place)
    _clear(partial, ledger)
    partial.mkdir(exist_ok=True)
    return partial


def put_in_place(partial: Path, place: str, ledger: Ledger) -> None:
    """Replaces Pocketreel's files of a place by those of its working folder; other files are not changed."""
    patterns = export_names([place])
    new = [one for one in entries(partial) if matches(f"{partial.name}/{one}", patterns)]
    old = [one for one in ledger.ours() if one.startswith(f"{place}/")]
    final = ledger.folder / place
    for one in old:
        if one.removeprefix(f"{place}/") not in new:
            (ledger.folder / one).unlink()
    if final.is_dir():
        _remove_empty_folders(final)
    for one in new:
        (final / one).parent.mkdir(parents=True, exist_ok=True)
        (partial / one).replace(final / one)
    _remove_empty_folders(partial)


def _remove_empty_folders(folder: Path) -> None:
    """Removes the folder and its subfolders where they have become empty."""
    below = sorted((one for one in folder.rglob("*") if one.is_dir() and not one.is_symlink()), reverse=True)
    for one in (*below, folder):
        if not any(one.iterdir()):
            one.rmdir()
