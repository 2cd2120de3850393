"""Atomic writes, and files that contain their own SHA-256."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

TEMPORARY = ".pocketreel.*.tmp"
"""Names of temporary files, which a killed process leaves behind."""

_SEAL = b"pocketreel sealed "


class Damaged(ValueError):
    """A file whose content has changed since it was written."""


class Fingerprint(NamedTuple):
    """Size and SHA-256 that identify the content of a file."""

    size_bytes: int
    sha256: str


def fingerprint(path: Path) -> Fingerprint:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Fingerprint(os.fstat(file.fileno()).st_size, digest.hexdigest())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the path to OSErrors, which reads and writes lack."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes a file atomically: to a temporary name, flushed to disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".pocketreel.{os.getpid()}.{path.name}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with naming(path):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_sealed(path: Path, data: bytes) -> None:
    """Writes bytes after a line with their SHA-256, atomically."""
    write_atomic(path, _SEAL + hashlib.sha256(data).hexdigest().encode() + b"\n" + data)


def read_sealed(path: Path) -> bytes:
    """Reads a file of `write_sealed`. Raises `Damaged` for any other content."""
    whole = path.read_bytes()
    begin = len(_SEAL) + 65
    data = whole[begin:]
    if whole[:begin] != _SEAL + hashlib.sha256(data).hexdigest().encode() + b"\n":
        raise Damaged(f"{path} is damaged: its content does not match the SHA-256 in its first line")
    return data


def write_sealed_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON object with the SHA-256 of its content under the key `sha256`."""
    plain = json.loads(json.dumps(content, allow_nan=False))
    text = json.dumps({**plain, "sha256": _sha256(plain)}, indent=1, ensure_ascii=False)
    write_atomic(path, (text + "\n").encode("utf-8", "surrogatepass"))


def read_sealed_json(path: Path) -> dict[str, Any]:
    """Reads a file of `write_sealed_json`. Raises `Damaged` for any other content."""
    try:
        content = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
        expected = content.pop("sha256")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise Damaged(f"{path} is damaged: it is not a JSON object with a SHA-256") from error
    if _sha256(content) != expected:
        raise Damaged(f"{path} is damaged: its content does not match its SHA-256")
    return content


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
