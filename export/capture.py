"""A network as one static graph of ATen operators, the form in which everything else in this package reads it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram


def capture(model: nn.Module, example: tuple[Tensor, ...]) -> ExportedProgram:
    """The graph of `model(*example)` in eval mode, static in every shape, batch size included.

    The model keeps its own training mode. Raises TypeError when an input is not a tensor; what `torch.export`
    itself cannot capture (control flow that depends on values) it refuses, naming the line.
    """
    for position, value in enumerate(example):
        if not isinstance(value, Tensor):
            raise TypeError(
                f"input {position} of the example is {type(value).__name__}; give one tensor per input"
            )
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            return torch.export.export(model, example)
    finally:
        for module, mode in training.items():
            module.training = mode
