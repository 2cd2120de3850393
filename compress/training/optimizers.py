"""The table of optimizers. A new one is a function and one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Groups = list[dict[str, Any]]
"""Parameter groups of torch: `params` and settings that differ from those of the optimizer."""


def adamw(groups: Groups, *, learning_rate: float, momentum: float) -> torch.optim.Optimizer:
    """Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization"; `momentum` is not used."""
    return torch.optim.AdamW(groups, lr=learning_rate)


def sgd(groups: Groups, *, learning_rate: float, momentum: float) -> torch.optim.Optimizer:
    """Gradient descent with Nesterov momentum: Sutskever et al. 2013, "On the importance of initialization and
    momentum in deep learning"."""
    return torch.optim.SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": adamw,
    "sgd": sgd,
}
