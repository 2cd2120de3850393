"""A finding: one operator of the user's network that a runtime refuses, runs slowly or runs in float."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["refused", "slow", "float"]

SEVERITIES: dict[Severity, str] = {
    "refused": "no file, or one that does not load",
    "slow": "outside of the runtime's fast kernels",
    "float": "computes in float in an int8 file",
}
"""Meaning of each severity, the worst first."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One operator of the network, or several of one kind in one line of it."""

    format: str
    severity: Severity
    operator: str
    """Its name in PyTorch, such as `gelu`."""
    place: str | None
    """The user's line as `file:line` and the code; `None` if unknown."""
    why: str
    instead: str
    share: float = 0.0
    """Its share of the network's multiply-adds, 0..1; 0 for elementwise operators, data movement and
    normalisation."""
    count: int = 1


def merge(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Merges findings that differ only in their share, with a count; refused ones first, then the largest
    shares."""
    merged: dict[Finding, Finding] = {}
    for found in findings:
        key = replace(found, share=0.0, count=1)
        before = merged.get(key, replace(found, share=0.0, count=0))
        merged[key] = replace(before, share=before.share + found.share, count=before.count + found.count)
    order = list(SEVERITIES)
    return tuple(sorted(merged.values(), key=lambda one: (order.index(one.severity), -one.share)))
