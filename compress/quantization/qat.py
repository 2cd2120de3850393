"""Quantization-aware training: trains weights with all tensors fake-quantized to int8.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 3.
"""

from __future__ import annotations

import torch

from compress.distillation.criterion import best_criterion
from compress.quantization.method import Curve, QuantizationMethod
from compress.stage import Context, training_job
from compress.training import TrainConfig, fit
from models.spec import ClipSpec


def train_rounded(
    prepared: torch.fx.GraphModule, spec: ClipSpec, config: TrainConfig, context: Context
) -> Curve:
    """Trains the fake-quantized graph in place."""
    return fit(
        prepared,
        context.data.train.for_spec(spec),
        criterion=best_criterion(prepared, spec, config=config, context=context),
        config=config,
        validation=context.data.validation.for_spec(spec),
        job=training_job("quantize: training", context),
    )


QAT = QuantizationMethod(trains=True, decide=train_rounded)
