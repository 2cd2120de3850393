"""What a user names as output: folders and files that a command may write to without touching others."""

from __future__ import annotations

import json
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


def check_output_file(path: Path | None, *, is_ours: Callable[[Any], bool], option: str = "--out") -> None:
    """Raises `FolderRefused` for a link, and for a file that is there and was not written by the same command.

    `is_ours` judges the content of a JSON file. Devices and pipes are no files of anybody.
    """
    if path is None or (path.exists() and not path.is_file()):
        return
    if path.is_symlink():
        raise FolderRefused(_linked(path, option))
    if not path.exists():
        return
    try:
        ours = is_ours(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, LookupError, TypeError, RecursionError, OSError):
        ours = False
    if not ours:
        raise FolderRefused(
            f"{option} {path} is there, and is no file of this command: choose another name, or move it away"
        )


def check_output_page(path: Path, *, begin: str, option: str) -> None:
    """As `check_output_file`, for a text whose beginning says which command wrote it."""
    if not path.is_file():
        return
    if path.is_symlink():
        raise FolderRefused(_linked(path, option))
    with path.open("rb") as file:
        ours = file.read(len(begin.encode())) == begin.encode()
    if not ours:
        raise FolderRefused(
            f"{option} {path} is there, and is no page of this command: choose another name, or move it away"
        )


def _linked(path: Path, option: str) -> str:
    return f"{option} {path} is a symbolic link (to {path.readlink()}): name the file that is to be written"


def write_output_file(path: Path, text: str) -> None:
    """Writes a whole file or nothing; into a device or a pipe, just the text."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
    else:
        write_atomic(path, text.encode("utf-8", "surrogatepass"))
