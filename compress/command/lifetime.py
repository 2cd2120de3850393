"""Processes that end with the one that started them, and that take their own children with them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LOOK_S = 0.5


def end_with_parent(parent: int) -> None:
    """Ends this process with SIGKILL as soon as the process `parent`, which started it, has ended.

    On Linux the kernel does it, whatever this process computes at that time; it watches the *thread* that started
    this process, so that has to live as long as `parent` does. Elsewhere a thread looks twice a second.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it had ended before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


def lasting_parent() -> int:
    """What a process that this thread starts may pass to `end_with_parent`: our id, or 0 where that does not hold.

    A process that outlives the thread which starts it must not end with it.
    """
    return os.getpid() if threading.current_thread() is threading.main_thread() else 0


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_tree(pid: int) -> None:
    """Ends a process and everything that it started, at once."""
    import psutil

    with suppress(psutil.Error):
        kill_all([psutil.Process(pid), *started_by(pid)])


def started_by(pid: int) -> list[psutil.Process]:
    """What a process has started, and what that has started in turn, as far as it is there."""
    import psutil

    with suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def kill_all(processes: list[psutil.Process]) -> None:
    """Ends these processes at once; one that is gone is no fault, and no later one of its number is hit."""
    import psutil

    for one in processes:
        with suppress(psutil.Error):
            one.kill()


def adopt_orphans() -> None:
    """Makes this process the parent of what its children leave behind, on Linux: `started_by` then knows it."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def memory_bytes(pid: int) -> int:
    """Memory that a process and everything that it started hold now; 0 when they are gone."""
    import psutil

    held = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                held += one.memory_info().rss
    return held


def memory_limit_bytes(share: float = 0.75) -> int:
    """`share` of the memory that this machine, or the container around this process, has."""
    import psutil

    sizes = [psutil.virtual_memory().total]
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError), open(place) as file:  # noqa: PTH123
            sizes.append(int(file.read()))
    return int(share * min(sizes))


def how_it_ended(returncode: int) -> str:
    """The end of a process that gave no result, as the rest of a sentence whose subject it is."""
    if returncode == -signal.SIGKILL:
        return "was killed (SIGKILL), most often for want of memory"
    if returncode < 0:
        return f"crashed its process with {signal_name(-returncode)}"
    return f"ended its process with exit code {returncode} and no result"


def signal_name(number: int) -> str:
    """`SIGSEGV` for 11; a real-time signal by its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
