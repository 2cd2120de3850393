"""What a user names as output: folders and files that a command may write to without touching others."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from compress.folders.ledger import FolderRefused, refuse_link
from compress.folders.writing import write_atomic


def check_clear(out: Path, protected: Iterable[tuple[str, Path]], *, option: str = "--out") -> None:
    """Raises `FolderRefused` when `out` is a link or a file, or is or contains one of the protected places.

    `protected` are places with what they are, in words.
    """
    refuse_link(out)
    if out.exists() and not out.is_dir():
        raise FolderRefused(f"{option} {out} is a file; give a folder")
    for what, place in protected:
        if contains(out, place):
            raise FolderRefused(
                f"{option} {out} is or contains {what} ({place}), and results would be written there: choose "
                "another folder"
            )


def contains(folder: Path, place: Path) -> bool:
    """Whether a place is a folder or lies in it, however the two are spelled."""
    whole, inner = folder.resolve(), place.resolve()
    if inner == whole or whole in inner.parents:
        return True
    if not whole.exists():
        return False
    return any(one.exists() and one.samefile(whole) for one in (inner, *inner.parents))


def check_output_file(
    path: Path | None, *, is_ours: Callable[[Any], bool] | None = None, option: str = "--out"
) -> None:
    """Finds out before the work whether a command may write the file that `path` names.

    `is_ours` judges the content of a JSON file that is there; without it, a file is replaced whatever it holds.

    Raises an OSError where the file system does not let it, and `FolderRefused` for a link, for a pipe, a socket or
    a device, which would take what is written or wait for ever, and for a file that was not written by the same
    command.
    """
    if path is None:
        return
    if path.is_symlink():
        raise FolderRefused(
            f"{option} {path} is a symbolic link (to {path.readlink()}): name the file that is to be written"
        )
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: the folder to write it to does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file")
    _refuse_no_file(path, option)
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise PermissionError(f"{path}: may not be written")
    if is_ours is None or not path.exists():
        return
    try:
        ours = is_ours(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, LookupError, TypeError, RecursionError, OSError):
        ours = False
    if not ours:
        raise FolderRefused(
            f"{option} {path} is there, and is no file of this command: choose another name, or move it away"
        )


def write_output_file(path: Path, text: str, *, option: str = "--out") -> None:
    """Writes a whole file or nothing. Raises `FolderRefused` for what has become no file since it was checked."""
    _refuse_no_file(path, option)
    write_atomic(path, text.encode("utf-8", "surrogatepass"))


def _refuse_no_file(path: Path, option: str) -> None:
    if path.exists() and not path.is_file():
        mode = path.stat().st_mode
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise FolderRefused(f"{option} {path} is {kind}; give the name of a regular file")
