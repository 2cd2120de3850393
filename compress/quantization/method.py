"""The interface of quantization methods: the step between calibration and the int8 reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compress.stage import Context
from compress.training import TrainConfig
from models.spec import ClipSpec

if TYPE_CHECKING:
    from export.quantize.grid import Grid
    from export.quantize.observers import Ranges


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a method may use besides the graph."""

    spec: ClipSpec
    config: TrainConfig
    """Settings of the stage, a `QuantizeConfig`."""
    context: Context
    batches: Callable[[], Iterator[tuple[Tensor, ...]]]
    """Yields the calibration batches, the same in every call."""
    grids: Mapping[str, Grid] | None = None
    """The grids of weights by name, for schemes with float activations; their graph has no observers."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The result of a method, besides the changed graph."""

    curve: tuple[dict[str, float], ...] = ()
    """One row per epoch, as returned by `fit`."""
    notes: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    """Figures for the record of the stage."""


@dataclass(frozen=True, kw_only=True)
class QuantizationMethod:
    """One row of `QUANTIZATION_METHODS`."""

    ranges: Callable[[Any], Ranges]
    """The observers of ranges, given the settings of the stage."""
    decide: Callable[[torch.fx.GraphModule, Task], Decision]
    """Changes weights and ranges of the prepared graph in place, after calibration; the graph takes only full
    batches."""
    settings: tuple[str, ...]
    """Keys of the stage that this method uses, besides those of every method; others are refused."""
    schemes: tuple[str, ...] = ("w8a8",)
    trains: bool = False
    """Whether the network is trained with simulated quantization; the training settings of the stage then apply."""
