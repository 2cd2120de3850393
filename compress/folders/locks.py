"""Locks of folders: a second process is refused, or waits, with a message that names the first.

Locks are those of the operating system, which releases them when the process ends. The holder is written to a file
next to the lock, only for messages.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from compress.folders.ledger import HOLDER, LOCK, FolderRefused, refuse_link
from compress.folders.writing import Damaged, read_sealed_json, write_sealed_json


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds the lock of `folder`, which is created; raises `FolderRefused` if another process holds it."""
    refuse_link(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise FolderRefused(
            f"{folder} is in use by {holder(folder / HOLDER)}: wait until it ends, or choose another folder"
        ) from None
    with _known(lock, folder / HOLDER):
        yield


@contextmanager
def one_at_a_time(folder: Path, *, waiting: Callable[[str], object]) -> Iterator[None]:
    """Holds the lock of `folder`; waits for other processes and calls `waiting` with the holder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".pocketreel.{folder.name}.lock"))
    beside = folder.with_name(f".pocketreel.{folder.name}.holder.json")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        waiting(holder(beside))
        lock.acquire()
    with _known(lock, beside):
        yield


@contextmanager
def if_free(folder: Path) -> Iterator[bool]:
    """Whether the lock of `one_at_a_time` for `folder` is free; if so, holds it in this context."""
    lock = FileLock(folder.with_name(f".pocketreel.{folder.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def _known(lock: FileLock, beside: Path) -> Iterator[None]:
    try:
        process = psutil.Process()
        write_sealed_json(
            beside,
            {
                "pid": process.pid,
                "host": socket.gethostname(),
                "since": datetime.now().astimezone().isoformat(timespec="seconds"),
                "started": process.create_time(),
                "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            },
        )
        yield
        beside.unlink(missing_ok=True)
    finally:
        lock.release()


def holder(beside: Path) -> str:
    """Describes the holder of a lock."""
    try:
        found = read_sealed_json(beside)
        process = f"process {found['pid']} on {found['host']}, since {found['since']}"
    except (OSError, Damaged, KeyError):  # it has the lock, but has not yet written its name
        return "another process"
    if found["host"] == socket.gethostname() and not _alive(found["pid"], found["started"]):
        return f"a child of {process}"
    return process


def _alive(pid: int, started: float) -> bool:
    """Whether a process is still running; a later one with the same id does not count."""
    try:
        return pid == os.getpid() or abs(psutil.Process(pid).create_time() - started) < 2
    except psutil.Error:
        return False
