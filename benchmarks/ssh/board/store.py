"""The folder on the board: files and clips under names that contain the hash of their content."""

from __future__ import annotations

import errno
import hashlib
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from benchmarks.device import Unavailable

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OURS = ("blobs", "files", "wheels", "environment")
_RUNNERS = "runner-*.pyz"


class Store:
    """Takes files in blocks, and continues a file whose copy was interrupted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def present(self, files: Iterable[tuple[str, int]]) -> list[int]:
        """Bytes that are here of each file (path, size). Raises `Unavailable` if the rest does not fit."""
        here = [self._present(path, size) for path, size in files]
        needed_bytes = sum(size for _, size in files) - sum(here)
        if needed_bytes > self._free_bytes():
            raise Unavailable(self._full(needed_bytes))
        return here

    def put(self, path: str, *, size: int, sha256: str, begin: int, data: bytes) -> int:
        """Writes a block of a file; returns the bytes that are here now.

        The file gets its name when it is complete and its content is verified. Raises `Unavailable` for a full disk
        and ValueError for content that differs from its hash.
        """
        final, part = self.folder / path, self._part(path)
        if final.exists():
            return size
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        try:
            with part.open("r+b") as stream:
                stream.seek(begin)
                stream.write(data)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            part.unlink()
            raise Unavailable(self._full(size - begin)) from error
        if begin + len(data) < size:
            return begin + len(data)
        with part.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != sha256:
            part.unlink()
            raise ValueError(f"{path} was damaged on its way: its SHA-256 is {found}; run again")
        part.replace(final)
        return size

    def clean(self) -> None:
        """Removes everything that was stored here, and the folder if nothing else is in it."""
        for name in _OURS:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for runner in self.folder.glob(_RUNNERS):
            runner.unlink()
        with suppress(OSError):  # it holds files of others, or is a mount point
            self.folder.rmdir()

    def _present(self, path: str, size: int) -> int:
        if (self.folder / path).exists():
            return size
        part = self._part(path)
        return min(part.stat().st_size, size - 1) if part.exists() and size else 0

    def _part(self, path: str) -> Path:
        return self.folder / f"{path}.part"

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def _full(self, needed_bytes: int) -> str:
        return (
            f"{self.folder} on the board has no room: {needed_bytes / 1e6:.1f} MB are needed and "
            f"{self._free_bytes() / 1e6:.1f} MB are free; free some space there, or give another `folder`"
        )
