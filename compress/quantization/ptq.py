"""Post-training quantization: calibration alone, without changes to the weights."""

from __future__ import annotations

import torch

from compress.quantization.method import Curve, QuantizationMethod
from compress.stage import Context
from compress.training import TrainConfig
from models.spec import ClipSpec


def keep_as_calibrated(
    prepared: torch.fx.GraphModule, spec: ClipSpec, config: TrainConfig, context: Context
) -> Curve:
    """Does nothing after calibration; returns no epochs."""
    return ()


PTQ = QuantizationMethod(trains=False, decide=keep_as_calibrated)
