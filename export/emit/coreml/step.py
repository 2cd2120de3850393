"""One operator of an ML program, and whether the Neural Engine runs it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operator of a program, in the order of execution."""

    node: str
    operator: str
    macs: int
    refusal: str | None
    """Why the Neural Engine does not run it; `None` if it does."""
