"""Results on disk: found again by a hash of all that can change them, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from filelock import FileLock, Timeout

from compress.versions import TRAINING, installed

T = TypeVar("T")
_KEY_FILE = "key.json"


def content_key(**parts: Any) -> str:
    """Hex SHA-256 of plain data, this project's source and the versions of what networks are made with."""
    parts = {**parts, "source": source_digest(), "versions": installed(TRAINING)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@cache
def source_digest() -> str:
    """Hash over the source of the packages that make results, so that changed code never meets old results."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in ("models", "compress", "export", "benchmarks"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Stored(Generic[T]):
    """A result, and whether it had been there already."""

    value: T
    cached: bool


def stored(folder: Path, *, key: str, make: Callable[[Path], None], load: Callable[[Path], T]) -> Stored[T]:
    """The result under `folder`, made first unless what lies there was made under the same key.

    `make(work)` writes into a working folder beside it, `<folder>.partial`, which is renamed into place when
    `make` returns. A killed run leaves the working folder behind; under the same key the next `make` finds its
    unfinished work in it.
    """
    if _key_of(folder) == key:
        return Stored(value=load(folder), cached=True)
    work = folder.with_name(folder.name + ".partial")
    if _key_of(work) != key:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_atomic(work / _KEY_FILE, json.dumps({"key": key}))
    make(work)
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)
    return Stored(value=load(folder), cached=False)


@contextmanager
def one_at_a_time(folder: Path, *, waiting: Callable[[], object]) -> Iterator[None]:
    """While one process is in here for `folder`, others wait; each that has to calls `waiting` first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _key_of(folder: Path) -> str | None:
    path = folder / _KEY_FILE
    return json.loads(path.read_text())["key"] if path.is_file() else None


def write_atomic(path: Path, content: str | bytes) -> None:
    """Writes a whole file or nothing: into a temporary name, flushed to disk, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
