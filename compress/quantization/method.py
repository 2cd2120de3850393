"""The interface of quantization methods: the step between calibration and the int8 reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from compress.stage import Context
from compress.training import TrainConfig
from models.spec import ClipSpec

Curve = tuple[dict[str, float], ...]
"""One row per epoch, as returned by `fit`."""


@dataclass(frozen=True, kw_only=True)
class QuantizationMethod:
    """One row of `QUANTIZATION_METHODS`."""

    trains: bool
    """Whether weights are trained with simulated quantization; BatchNorms are then not folded, and the training
    settings of the stage apply."""
    decide: Callable[[torch.fx.GraphModule, ClipSpec, TrainConfig, Context], Curve]
    """Changes weights and ranges of the prepared graph in place, after calibration; the graph takes only full
    batches."""
