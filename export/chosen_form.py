"""The record of a choice: the form of a file, and how it was chosen (`export.choice`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

By = Literal["measurement", "rule", "pin"]


@dataclass(frozen=True, kw_only=True)
class ComparedForm:
    """A form that was considered."""

    form: str
    latency_ms: float | None
    """Median latency, where it was measured."""
    reason: str | None = None
    """Why it is left out; None if it is not."""


@dataclass(frozen=True, kw_only=True)
class ChosenForm:
    """The form of a file, and how it was chosen."""

    name: str
    by: By
    source: str
    """As in `Choice`."""
    reason: str
    """How it was chosen, as the end of the sentence `form: <name>, ...`."""
    compared: tuple[ComparedForm, ...]
    """The forms that were measured, and those that were left out."""

    @property
    def notes(self) -> tuple[str, ...]:
        """The choice as notes of the file."""
        left_out = [one for one in self.compared if one.reason is not None]
        return (
            f"form: {self.name}, {self.reason}",
            *(f"form not taken: {one.form} {one.reason}" for one in left_out),
        )

    def to_dict(self) -> dict[str, Any]:
        """The choice as plain data."""
        return {
            "name": self.name,
            "by": self.by,
            "source": self.source,
            "reason": self.reason,
            "compared": [
                {"form": one.form, "latency_ms": one.latency_ms, "reason": one.reason}
                for one in self.compared
            ],
        }
