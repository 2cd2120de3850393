"""The interface of pruning targets: what a network costs, and how channels are chosen until it costs less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from torch import Tensor, nn

from compress.pruning.groups import PruningGroup
from compress.pruning.order import Limits, Scope
from compress.pruning.search import Found
from models.spec import ClipSpec

if TYPE_CHECKING:
    from benchmarks.device_settings import DeviceSettings


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The importance of the units of each group, and how groups are compared."""

    importances: Mapping[PruningGroup, Tensor]
    limits: Limits
    scope: Scope = "global"
    isomorphic: bool = False


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where a cost is counted or measured."""

    spec: ClipSpec
    runtime: str = "onnx"
    device: tuple[str, DeviceSettings] | None = None
    """Name and settings of the device that measures; None for this machine."""
    scheme: str = "fp32"
    cache: Path | None = None
    """Folder for measurements that later runs can use."""
    console: Console = field(default_factory=lambda: Console(quiet=True))
    seed: int = 0


class Target(Protocol):
    """A row of `TARGETS`, made from the setting and the network before all cuts."""

    quantity: str
    """What is counted or measured, for messages."""
    unit: str
    """Of its costs."""
    original: float
    """The cost of the network before all cuts."""
    notes: tuple[str, ...]
    """Notes for the report, such as the machine of a measurement."""

    def cut(self, model: nn.Module, ranking: Ranking, *, goal: float) -> Found:
        """The network without the channels that matter least for its cost, whose cost is at most `goal`.

        Raises `OutOfReach`.
        """
        ...
