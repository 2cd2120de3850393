"""Cached results in folders: looked up by key, verified before use, and computed again if invalid."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from compress.folders.keys import difference, parts_of
from compress.folders.ledger import Ledger, check_names, entries, matches, own_name

T = TypeVar("T")
Notify = Callable[[str], object]
"""Called with a message for the user."""


@dataclass(frozen=True, kw_only=True)
class Stored(Generic[T]):
    """A result, and whether it was cached."""

    value: T
    cached: bool


def notify_stderr(sentence: str) -> None:
    """Prints to standard error."""
    print(sentence, file=sys.stderr, flush=True)


def stored(
    folder: Path,
    *,
    key: str,
    make: Callable[[Path], None],
    load: Callable[[Path], T],
    names: Sequence[str] = ("*",),
    scratch: Sequence[str] = (),
    also: Iterable[Path] = (),
    title: str | None = None,
    notify: Notify = notify_stderr,
) -> Stored[T]:
    """The result in `folder`, or in one of the folders `also`; computed if no complete one has the same key.

    A result is used only if every file has its original size and SHA-256, and `load` can read it. Otherwise it
    counts as missing, and `notify` gets the reason.

    `make(work)` writes files that match `names` into a working folder, `<folder>.partial`, which replaces the
    result when `make` returns. A killed run leaves the working folder; the next `make` with the same key finds the
    unfinished work in it. Files that match `scratch` are removed at the end. Other files in these folders that are
    not Pocketreel's are kept.

    Raises `FolderRefused` if a required name is taken by a file that is not Pocketreel's.
    """
    title = title or folder.name
    work = folder.with_name(folder.name + ".partial")
    reasons: list[str] = []
    for place in (folder, *also):
        ledger = Ledger.read(place)
        if ledger is None:
            continue
        reason = reason_against(ledger, key, notify=notify)
        if reason is None:
            try:
                return Stored(value=load(place), cached=True)
            except Exception as error:  # readers raise many types
                reason = f"{place} cannot be read ({_sentence(error)})"
        reasons.append(reason)
    check_names(folder, names)
    check_names(work, names)
    unfinished = Ledger.read(work)
    if unfinished is not None and unfinished.about.get("key") != key:
        unfinished.remove()
        unfinished = None
    if unfinished is None or not unfinished.about.get("made") or unfinished.fault():
        for reason in reasons[:1]:
            notify(f"{title}: computed again, because {reason}")
        unfinished = _begin(work, key, names)
        make(work)
        for name in [name for name in unfinished.ours() if matches(name, scratch)]:
            unfinished.files.pop(name, None)
            (work / name).unlink()
        _remove_empty_folders(work)
        unfinished.finish(made=True)
    publish(work, folder)
    return Stored(value=load(folder), cached=False)


def publish(work: Path, folder: Path) -> None:
    """Replaces the earlier result by a finished one. Files that are not Pocketreel's are kept in both folders.

    After a kill, another call completes it.
    """
    new = Ledger.read(work)
    assert new is not None and not new.writing
    before = Ledger.read(folder)
    moving = before is not None and before.files == new.files and before.about == new.about
    if before is not None and not moving:
        before.remove()
    if not moving:
        check_names(folder, list(new.files))
        if not folder.exists() and all(new.lists(name) or own_name(name) for name in entries(work)):
            work.rename(folder)
            return
        folder.mkdir(parents=True, exist_ok=True)
        Ledger(folder=folder, kind=new.kind, files=new.files, about=new.about).save()
    for name in new.ours():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (work / name).replace(target)
    _remove_empty_folders(work)
    new.remove()


def _begin(work: Path, key: str, names: Sequence[str]) -> Ledger:
    """Creates the ledger of a working folder with the names that `make` may write."""
    work.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.read(work) or Ledger(folder=work, kind="result")
    ledger.writing, ledger.files = tuple(names), {}
    ledger.about = {"key": str(key), "parts": parts_of(key), "made": False}
    ledger.save()
    ledger.clear(temporary_alone=True)
    return ledger


def reason_against(ledger: Ledger, key: str, *, notify: Notify) -> str | None:
    """Reason why the result of a ledger cannot be used; None if it has the key and is intact."""
    if ledger.about.get("key") != key:
        return difference(ledger.about.get("parts", {}), parts_of(key))
    if not ledger.about.get("made"):
        return ledger.about.get("why", f"{ledger.folder} is unfinished")
    if ledger.damage:
        notify(f"{ledger.damage}; its copy is intact and is used instead")
        ledger.save()
    return ledger.fault()


def _sentence(error: Exception) -> str:
    text = str(error).strip() or "no reason given"
    return f"{type(error).__name__}: {text.splitlines()[0]}"


def _remove_empty_folders(folder: Path) -> None:
    """Removes empty subfolders."""
    for path in sorted((p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink()), reverse=True):
        try:
            path.rmdir()
        except OSError:
            continue
