"""How much of a file's work its runtime does in the kernels made for it, and what it leaves behind, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LeftBehind:
    """One operator that the accelerated kernels of a runtime did not take."""

    node: str
    """Its name in the file, or in the graph that the file was made from."""
    operator: str
    """Its kind, in the words of the runtime."""
    macs: int
    """Multiply-adds of it for one clip; 0 for what only moves or maps values."""
    reason: str
    place: str | None = None
    """File, line and text of the user's source that it comes from; `None` where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Where the multiply-adds of one file are done. Raises ValueError for counts that contradict each other."""

    macs: int
    """Multiply-adds of the whole file for one clip."""
    accelerated_macs: int
    """Those of them in the runtime's accelerated kernels."""
    partitions: int | None
    """Parts handed to the accelerator one by one; `None` for a runtime that does not divide the graph."""
    left: tuple[LeftBehind, ...]
    """What stays outside, in the order of execution."""
    source: str
    """Where these facts come from."""

    def __post_init__(self) -> None:
        if not 0 <= self.accelerated_macs <= self.macs:
            raise ValueError(
                f"coverage of {self.accelerated_macs} accelerated among {self.macs} multiply-adds: "
                "the accelerated ones are a part of all, so give a number from 0 to all"
            )

    @property
    def share(self) -> float:
        """Accelerated part of all multiply-adds, 0..1; 1 for a file that has none."""
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
    """What `look` finds, or `None` and a note that says why it found nothing.

    The file is written by then, and is worth having where its coverage cannot be told: without the runtime
    at hand, or where the runtime here refuses a file that another one runs.
    """
    try:
        return look(), ()
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        sentence = lines[0] if lines else "no message"
        return None, (f"where its runtime does the work is not known: {type(error).__name__}: {sentence}",)
