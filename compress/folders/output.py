"""Checks of output paths given by the user."""

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
    """Raises `FolderRefused` if `out` is a link or a file, or is or contains a protected path.

    `protected` are (description, path).
    """
    refuse_link(out)
    if out.exists() and not out.is_dir():
        raise FolderRefused(f"{option} {out} is a file; give a folder")
    for what, place in protected:
        if contains(out, place):
            raise FolderRefused(
                f"{option} {out} is or contains {what} ({place}), which must not be written to: choose "
                "another folder"
            )


def contains(folder: Path, place: Path) -> bool:
    """Whether a path is `folder` or inside it, after resolving both."""
    whole, inner = folder.resolve(), place.resolve()
    if inner == whole or whole in inner.parents:
        return True
    if not whole.exists():
        return False
    return any(one.exists() and one.samefile(whole) for one in (inner, *inner.parents))


def check_output_file(
    path: Path | None, *, is_ours: Callable[[Any], bool] | None = None, option: str = "--out"
) -> None:
    """Checks in advance whether a command may write the file `path`.

    `is_ours` checks the content of an existing JSON file; without it, any file is replaced.

    Raises an OSError if the file system denies it, and `FolderRefused` for a link, a pipe, a socket or a device,
    and for a file that was not written by the same command.
    """
    if path is None:
        return
    if path.is_symlink():
        raise FolderRefused(
            f"{option} {path} is a symbolic link (to {path.readlink()}): give the file itself"
        )
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: its folder does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file")
    _refuse_no_file(path, option)
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise PermissionError(f"{path}: no permission to write")
    if is_ours is None or not path.exists():
        return
    try:
        ours = is_ours(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, LookupError, TypeError, RecursionError, OSError):
        ours = False
    if not ours:
        raise FolderRefused(
            f"{option} {path} exists and was not written by this command: choose another name, or move it away"
        )


def check_output_page(path: Path, *, begin: str, option: str) -> None:
    """As `check_output_file`, for a text whose first line identifies the command."""
    check_output_file(path, option=option)
    if not path.exists():
        return
    with path.open("rb") as file:
        ours = file.read(len(begin.encode())) == begin.encode()
    if not ours:
        raise FolderRefused(
            f"{option} {path} exists and was not written by this command: choose another name, or move it away"
        )


def write_output_file(path: Path, text: str, *, option: str = "--out") -> None:
    """Writes a file atomically. Raises `FolderRefused` if the path is no longer a regular file."""
    _refuse_no_file(path, option)
    write_atomic(path, text.encode("utf-8", "surrogatepass"))


def _refuse_no_file(path: Path, option: str) -> None:
    if path.exists() and not path.is_file():
        mode = path.stat().st_mode
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a socket" if stat.S_ISSOCK(mode) else "a device"
        raise FolderRefused(f"{option} {path} is {kind}; give the name of a regular file")
