"""Ties the lifetime of processes to that of their parents, and ends process trees."""

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
    """Kills this process (SIGKILL) when its parent process `parent` ends.

    On Linux the kernel does it at any time; it watches the *thread* that started this process, which must live as
    long as `parent`. Elsewhere a thread polls twice a second.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal.SIGKILL)


def lasting_parent() -> int:
    """The argument of `end_with_parent` for a process started by this thread: our id, or 0 outside the main thread.

    A process that outlives the thread which starts it must not end with it.
    """
    return os.getpid() if threading.current_thread() is threading.main_thread() else 0


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGKILL)


def kill_tree(pid: int) -> None:
    """Kills a process and all its descendants."""
    import psutil

    with suppress(psutil.Error):
        kill_all([psutil.Process(pid), *started_by(pid)])


def started_by(pid: int) -> list[psutil.Process]:
    """The running descendants of a process."""
    import psutil

    with suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def kill_all(processes: list[psutil.Process]) -> None:
    """Kills these processes; ended processes are ignored, also if their id was reused."""
    import psutil

    for one in processes:
        with suppress(psutil.Error):
            one.kill()


def adopt_orphans() -> None:
    """Makes this process the parent of orphaned descendants (Linux), so that `started_by` finds them."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def memory_bytes(pid: int) -> int:
    """Current memory of a process and its descendants; 0 if they have ended."""
    import psutil

    held = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                held += one.memory_info().rss
    return held


def memory_limit_bytes(share: float = 0.75) -> int:
    """`share` of the memory of this machine, or of the container of this process."""
    import psutil

    sizes = [psutil.virtual_memory().total]
    for place in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError), open(place) as file:  # noqa: PTH123
            sizes.append(int(file.read()))
    return int(share * min(sizes))


def how_it_ended(returncode: int) -> str:
    """Describes the end of a process without a result, as a predicate."""
    if returncode == -signal.SIGKILL:
        return "was killed (SIGKILL), usually because memory ran out"
    if returncode < 0:
        return f"crashed its process with {signal_name(-returncode)}"
    return f"ended its process with exit code {returncode} and no result"


def exit_of(returncode: int) -> str:
    """Describes the end of a process as a predicate: `exited with code 3`, `was killed by SIGSEGV`."""
    if returncode == -signal.SIGKILL:
        return "was killed by SIGKILL (often: out of memory)"
    return f"was killed by {signal_name(-returncode)}" if returncode < 0 else f"exited with code {returncode}"


def signal_name(number: int) -> str:
    """Name of a signal, such as `SIGSEGV` for 11; a real-time signal by its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
