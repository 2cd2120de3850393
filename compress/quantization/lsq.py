"""Quantization-aware training that learns step sizes together with the weights.

Source: Esser et al. 2020, "Learned Step Size Quantization".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from compress.distillation.criterion import best_criterion
from compress.quantization.method import Decision, QuantizationMethod, Task
from compress.quantization.qat import TRAINING
from compress.stage import training_job
from compress.training import fit

if TYPE_CHECKING:
    from export.quantize.observers import Ranges


def learned_ranges(config: Any) -> Ranges:
    """Observers that become parameters."""
    from export.quantize.learned_steps import LEARNED

    return LEARNED


def train_steps(prepared: torch.fx.GraphModule, task: Task) -> Decision:
    """Trains weights and steps in place, with the distillation criterion if there is a teacher."""
    from export.quantize.learned_steps import start_learning, stop_learning

    steps = start_learning(prepared)
    curve = fit(
        prepared,
        task.context.data.train.for_spec(task.spec),
        criterion=best_criterion(prepared, task.spec, config=task.config, context=task.context),
        config=task.config,
        validation=task.context.data.validation.for_spec(task.spec),
        job=training_job("quantize: training", task.context),
    )
    stop_learning(prepared)
    return Decision(curve=curve, notes=(f"step sizes of {steps} tensors learned with the weights",))


LSQ = QuantizationMethod(ranges=learned_ranges, decide=train_steps, settings=TRAINING, trains=True)
