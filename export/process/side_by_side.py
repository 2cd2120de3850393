"""Runs tasks side by side, each in a thread of its own that waits for child processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from compress.command.lifetime import memory_limit_bytes
from export.process.child import tasks_stopped

Result = TypeVar("Result")


def workers_for(bytes_each: int) -> int:
    """The number of tasks with so much memory each that run side by side: at most one for each processor that this
    process may use, and together at most three quarters of the memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, memory_limit_bytes() // bytes_each))


def side_by_side(tasks: Sequence[Callable[[], Result]], *, workers: int) -> list[Result]:
    """The results of `tasks`, which are begun in their order, `workers` at a time; a single worker is this thread.

    If a task raises, or on Ctrl-C, the child processes of the others are ended before the exception is passed on.
    """
    if min(workers, len(tasks)) <= 1:
        return [task() for task in tasks]
    with ThreadPoolExecutor(workers, thread_name_prefix="side-by-side") as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            with tasks_stopped():
                pool.shutdown(cancel_futures=True)
            raise
    return [future.result() for future in futures]
