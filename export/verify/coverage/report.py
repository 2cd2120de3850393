"""Report on the share of a file that runs in accelerated kernels, and on the operators that do not, with
reasons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LeftBehind:
    """One operator that does not run in accelerated kernels."""

    node: str
    """Its name in the file, or in the graph behind the file."""
    operator: str
    """Its kind, as the runtime names it."""
    macs: int
    """Its multiply-adds for one clip; 0 for data movement and elementwise operators."""
    reason: str
    place: str | None = None
    """File, line and text of the user's source; `None` if unknown."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Where the multiply-adds of one file run. Raises ValueError for contradictory counts."""

    macs: int
    """Multiply-adds of the whole file for one clip."""
    accelerated_macs: int
    """Those of them in the runtime's accelerated kernels."""
    partitions: int | None
    """Number of accelerated parts; `None` for a runtime that does not partition the graph."""
    left: tuple[LeftBehind, ...]
    """Operators outside, in the order of execution."""
    source: str
    """Source of this information."""

    def __post_init__(self) -> None:
        if not 0 <= self.accelerated_macs <= self.macs:
            raise ValueError(
                f"coverage of {self.accelerated_macs} accelerated among {self.macs} multiply-adds: "
                "the accelerated ones are a part of all, so give a number from 0 to all"
            )

    @property
    def share(self) -> float:
        """Accelerated share of all multiply-adds, 0..1; 1 for a file that has none."""
        return self.accelerated_macs / self.macs if self.macs else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, `share` included."""
        return {
            "share": self.share,
            "macs": self.macs,
            "accelerated_macs": self.accelerated_macs,
            "partitions": self.partitions,
            "left": [asdict(one) for one in self.left],
            "source": self.source,
        }


def attempt(look: Callable[[], Coverage]) -> tuple[Coverage | None, tuple[str, ...]]:
    """The result of `look`, or `None` and a note with the reason.

    A file without a coverage report is still useful: its runtime may be missing here, or refuse a file that another
    version runs.
    """
    try:
        return look(), ()
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        sentence = lines[0] if lines else "no message"
        return None, (f"its coverage is unknown: {type(error).__name__}: {sentence}",)
