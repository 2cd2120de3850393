"""The peak memory of child processes, measured in a process that has no other children.

`RUSAGE_CHILDREN` counts every child that the process ever had, and on Linux a child starts at the peak of the
process that forked it: a test process with PyTorch loaded and exporters behind it measures itself.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class FreshProcess:
    """A new process without PyTorch that calls functions and reports the memory of its child processes."""

    def __init__(self) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))

    def call(self, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """What `function` returns or raises; it and its arguments have to be picklable."""
        return self._pool.submit(function, *args, **kwargs).result()

    def children_peak_bytes(self) -> int:
        """The largest resident set of any child so far."""
        return self._pool.submit(_children_peak_bytes).result()


@cache
def fresh_process() -> FreshProcess:
    """The one of this test process; it ends with it."""
    return FreshProcess()


def _children_peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
