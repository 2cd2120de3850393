"""Who is at work in a folder: a second process is refused, or waits, and is told for whom.

Locks are the operating system's: they end with the process that holds them, however it ends. Who holds one is
written beside it, for messages alone.
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
    """While one process is in here for `folder`, which is made, any other is refused with `FolderRefused`."""
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
    """While one process is in here for `folder`, others wait; each that has to tells `waiting` for whom."""
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
    """Whether no process is in `one_at_a_time` for `folder`; if so, none gets in before the end."""
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
    """Who holds a lock, in words."""
    try:
        found = read_sealed_json(beside)
        process = f"process {found['pid']} on {found['host']}, since {found['since']}"
    except (OSError, Damaged, KeyError):  # it has the lock, and has not yet said so
        return "another process"
    if found["host"] == socket.gethostname() and not _alive(found["pid"], found["started"]):
        return f"what {process} left running"
    return process


def _alive(pid: int, started: float) -> bool:
    """Whether a process still runs; a later one of the same number is another."""
    try:
        return pid == os.getpid() or abs(psutil.Process(pid).create_time() - started) < 2
    except psutil.Error:
        return False
