"""What is copied to a board: files and arrays, each under a path that contains the hash of its content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exported import content_hash


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A file on the board."""

    path: str
    """Relative to the folder on the board."""
    size: int
    sha256: str
    read: Callable[[int, int], bytes]
    """`read(begin, count)`: at most `count` bytes from `begin`."""


def of_file(file: Path) -> tuple[str, list[Upload]]:
    """The path on the board of a file, or of a folder such as `.mlpackage`, and its parts."""
    top = f"files/{content_hash(file)}/{file.name}"
    if file.is_file():
        return top, [_upload(file, top)]
    parts = sorted(part for part in file.rglob("*") if part.is_file())
    return top, [_upload(part, f"{top}/{part.relative_to(file).as_posix()}") for part in parts]


def of_array(array: np.ndarray) -> tuple[dict[str, Any], Upload]:
    """The row `{path, dtype, shape}` of an array for the board, and its bytes."""
    stored = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    data = stored.tobytes()
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"blobs/{sha256}"
    upload = Upload(
        path=path,
        size=len(data),
        sha256=sha256,
        read=lambda begin, count: data[begin : begin + count],
    )
    return {"path": path, "dtype": stored.dtype.str, "shape": list(stored.shape)}, upload


def of_wheels(folder: Path) -> tuple[str, list[Upload]]:
    """The path on the board of a folder of wheels, and the wheels. Raises ValueError if there are none."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise ValueError(f"{folder} has no wheels (*.whl)")
    names = "\n".join(f"{content_hash(wheel)} {wheel.name}" for wheel in wheels)
    top = f"wheels/{hashlib.sha256(names.encode()).hexdigest()}"
    return top, [_upload(wheel, f"{top}/{wheel.name}") for wheel in wheels]


def _upload(file: Path, path: str) -> Upload:
    def read(begin: int, count: int) -> bytes:
        with file.open("rb") as stream:
            stream.seek(begin)
            return stream.read(count)

    return Upload(path=path, size=file.stat().st_size, sha256=content_hash(file), read=read)
