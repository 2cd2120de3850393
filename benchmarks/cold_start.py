"""Cold start: the time from a new process to the first output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """Times of a process that has just loaded its file; the runtime's library was imported before."""

    load_ms: float
    """Loading the file."""
    first_ms: float
    """The first inference."""


@runtime_checkable
class TimesColdStart(Protocol):
    """A `Session` that also times its start. Others report none."""

    def cold_start(self) -> ColdStart:
        """Times of the load and of the first run of `time_runs`; raises `SessionFailed` before there is one."""
