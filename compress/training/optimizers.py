"""The table of optimizers. A new one is a function and one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from compress.training.dot import DOT

Groups = list[dict[str, Any]]
"""Parameter groups of torch: `params` and settings that differ from those of the optimizer."""


def adamw(groups: Groups, *, learning_rate: float, momentum: float, delta: float) -> torch.optim.Optimizer:
    """Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization"; `momentum` and `delta` are not used."""
    return torch.optim.AdamW(groups, lr=learning_rate)


def sgd(groups: Groups, *, learning_rate: float, momentum: float, delta: float) -> torch.optim.Optimizer:
    """Gradient descent with Nesterov momentum: Sutskever et al. 2013, "On the importance of initialization and
    momentum in deep learning"; `delta` is not used."""
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0)


def dot(groups: Groups, *, learning_rate: float, momentum: float, delta: float) -> torch.optim.Optimizer:
    """Zhao et al. 2023, "DOT: A Distillation-Oriented Trainer"."""
    return DOT(groups, lr=learning_rate, momentum=momentum, delta=delta)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": adamw,
    "sgd": sgd,
    "dot": dot,
}
