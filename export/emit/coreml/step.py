"""One operator of an ML program, and whether the Neural Engine does it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operator of a program, in the order of execution."""

    node: str
    operator: str
    macs: int
    refusal: str | None
    """Why it is not done by the Neural Engine; `None` where it is."""
