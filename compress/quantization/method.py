"""What a way to int8 is: what happens between calibration and the finished int8 reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from compress.stage import Context
from compress.training import TrainConfig
from models.spec import ClipSpec

Curve = tuple[dict[str, float], ...]
"""One row per epoch, as `fit` gives them."""


@dataclass(frozen=True, kw_only=True)
class QuantizationMethod:
    """One row of `QUANTIZATION_METHODS`."""

    trains: bool
    """Whether weights are trained with quantization simulated: BatchNorms are kept apart for that, and the training
    settings of the stage count."""
    decide: Callable[[torch.fx.GraphModule, ClipSpec, TrainConfig, Context], Curve]
    """Changes weights and ranges of the prepared graph in place, after its observers have seen the calibration
    clips; the graph takes whole batches."""
