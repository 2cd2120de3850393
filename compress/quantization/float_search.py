"""Measures choices of layers that stay in float, for the bounds of mixed precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor, fx, nn

from benchmarks.clips.clip_set import ClipSet
from compress.stage import Context
from compress.training import accuracy
from models.spec import ClipSpec

if TYPE_CHECKING:
    from export.quantize.sensitivity import SwitchedGraph


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One measurement of the search."""

    float_layers: int
    """Number of layers in float."""
    changed: str
    """The layer that was changed since the measurement before; empty for the first."""
    into: str
    """`float`, `int8`, or empty for the first."""
    drop_pp: float
    """Top-1 points below the float student on all validation clips, in the worst label column."""
    weight_bytes: int
    latency_ms: float | None = None
    """Median latency of the file; None unless latency is the bound."""


@dataclass(frozen=True, kw_only=True)
class Networks:
    """What a file of a choice is made of."""

    model: nn.Module
    """The float student."""
    single: fx.GraphModule
    """The prepared graph with final ranges for one clip."""
    spec: ClipSpec


@dataclass(kw_only=True)
class FloatSearch:
    """A search for the layers that stay in float: what a bound works on."""

    graph: SwitchedGraph
    validation: ClipSet
    batch: int
    floats: Callable[[ClipSet], tuple[Tensor, ...]]
    """Logits of the float student."""
    networks: Networks
    context: Context
    chosen: tuple[str, ...]
    """Layers that stay in float in any case."""
    order: tuple[str, ...]
    """All others, the layer that costs most when it alone is int8 first."""
    trials: list[Trial] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What the report says about the bound."""

    def __post_init__(self) -> None:
        self._of_float: list[float] | None = None

    def drop_pp(
        self, kept: Sequence[str], *, changed: str = "", into: str = "", latency_ms: float | None = None
    ) -> float:
        """The drop with the layers `kept` in float on all validation clips, which is recorded as a trial."""
        if self._of_float is None:
            self._of_float = _top1_pp(self.floats(self.validation), self.validation)
        self.graph.switch(kept)
        given = self.graph.logits(batches_of(self.validation, self.batch), len(self.validation))
        found = max(a - b for a, b in zip(self._of_float, _top1_pp(given, self.validation), strict=True))
        self.trials.append(
            Trial(
                float_layers=len(kept),
                changed=changed,
                into=into,
                drop_pp=found,
                weight_bytes=self.graph.weight_bytes(kept),
                latency_ms=latency_ms,
            )
        )
        return found


def batches_of(clips: ClipSet, size: int) -> list[tuple[Tensor, ...]]:
    """All clips in batches of `size`; the last one is filled with its last clip."""
    indices = list(range(len(clips)))
    indices += indices[-1:] * (-len(indices) % size)
    return [clips.batch(indices[start : start + size]) for start in range(0, len(indices), size)]


def _top1_pp(logits: tuple[Tensor, ...], clips: ClipSet) -> list[float]:
    """Top-1 of every label column in points."""
    return [100 * column.top1 for column in accuracy(logits, clips)]
