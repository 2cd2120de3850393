"""How the form of a file is chosen where its format has several (`Exporter.forms`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from export.chosen_form import By
from export.targets import BATCHED, TARGETS

if TYPE_CHECKING:
    from export.manifest import WrittenFile

HOST = "host"
"""Target of files whose forms are measured on this machine."""

STEP = "step"
"""Ends the name of a step program, as in `onnx.fp32.step`."""


class Stopwatch(Protocol):
    """A device that times files."""

    @property
    def name(self) -> str:
        """Name of the device."""

    def times(self, files: Sequence[WrittenFile], *, format: str, scheme: str) -> list[float | str]:
        """Median latency of every file in milliseconds, on one thread and in interleaved rounds, or the reason why
        the device does not run it. Raises RuntimeError if the device is lost."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How the form of one file is chosen."""

    by: By
    source: str
    """The machine of a measurement, the target of a rule, or the file of a pin."""
    order: tuple[str, ...] = ()
    """The forms of a rule, the first of which that the network has is taken; the form of a pin."""
    reason: str = ""
    """Evidence of the rule."""

    @property
    def elsewhere(self) -> bool:
        """Whether the files are measured by a stopwatch, not in the process that writes them."""
        return self.by == "measurement" and self.source != HOST


@dataclass(frozen=True, kw_only=True)
class Forms:
    """How the forms of all files of an export are chosen: measured on this machine by default."""

    target: str | None = None
    """A row of `TARGETS`, whose rule chooses."""
    stopwatch: Stopwatch | None = None
    """The device that measures."""
    pins: Mapping[str, str] | None = None
    """The form by file (`onnx.fp32`, `onnx.fp32.step`), from an earlier export."""
    source: str = ""
    """Where the pins come from."""
    preferred: str | None = None
    """A form that every file has if its network has it, and else batched frames: that of a network which others
    are compared with."""

    def __post_init__(self) -> None:
        given = [one for one in (self.target, self.stopwatch, self.pins, self.preferred) if one is not None]
        if len(given) > 1:
            raise ValueError(
                "forms are chosen by a target, measured on a device or pinned; give one of these, not several"
            )
        if self.target is not None and self.target not in TARGETS:
            raise ValueError(f"target {self.target!r} is unknown; allowed: {', '.join(TARGETS)}")

    @property
    def weight_bits(self) -> int:
        """Bits of int8 weights: those of the target, else 8."""
        return 8 if self.target is None else TARGETS[self.target].weight_bits

    def of(self, file: str) -> Choice:
        """How the form of this file is chosen."""
        if self.target is not None:
            row = TARGETS[self.target]
            return Choice(by="rule", source=self.target, order=row.forms, reason=row.evidence)
        if self.pins is not None:
            pinned = self.pins.get(file)
            return Choice(by="pin", source=self.source, order=() if pinned is None else (pinned,))
        if self.preferred is not None:
            order = tuple(dict.fromkeys((self.preferred, BATCHED)))
            return Choice(
                by="rule", source="reference", order=order, reason="the form of the reference network"
            )
        return Choice(by="measurement", source=HOST if self.stopwatch is None else self.stopwatch.name)


MEASURED_HERE = Forms()
