"""Quantization-aware training: trains weights with all tensors fake-quantized to int8.

Ranges follow the activations for a third of the steps and are frozen then. BatchNorm is folded into the weights
before training, so its statistics are constant from the first step, as Krishnamoorthi 2018, "Quantizing deep
convolutional networks for efficient inference", recommends for the end of training.

Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from compress.distillation.criterion import best_criterion
from compress.quantization.method import Decision, QuantizationMethod, Task
from compress.stage import training_job
from compress.training import TrainConfig, fit

if TYPE_CHECKING:
    from export.quantize.observers import Ranges

FROZEN_AFTER = 3
"""Activation ranges are frozen after one part in this many of the steps."""

TRAINING = (*TrainConfig.model_fields, "equalize")
"""Keys for methods that train."""


def moving_ranges(config: Any) -> Ranges:
    """Observers that follow the extremes of each batch."""
    from export.quantize.observers import TRAINED

    return TRAINED


def train_rounded(prepared: torch.fx.GraphModule, task: Task) -> Decision:
    """Trains the fake-quantized graph in place, with the distillation criterion if there is a teacher."""
    from export.quantize.int8_reference import freeze_ranges

    def freeze(step: int, steps: int) -> None:
        if step * FROZEN_AFTER >= steps:
            freeze_ranges(prepared)

    curve = fit(
        prepared,
        task.context.data.train.for_spec(task.spec),
        criterion=best_criterion(prepared, task.spec, config=task.config, context=task.context),
        config=task.config,
        validation=task.context.data.validation.for_spec(task.spec),
        job=training_job("quantize: training", task.context),
        on_step=freeze,
    )
    return Decision(curve=curve, notes=(f"activation ranges frozen after 1/{FROZEN_AFTER} of the steps",))


QAT = QuantizationMethod(ranges=moving_ranges, decide=train_rounded, settings=TRAINING, trains=True)
