"""Activations and powers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STRAIGHT = 20
"""From here on softplus is its argument, to all digits of a float32."""


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """`x` where positive, else `weight * x`, with one weight or one per channel."""
    slope = weight if weight.numel() == 1 or x.dim() < 2 else weight.reshape(-1, *[1] * (x.dim() - 2))
    return torch.relu(x) - slope * torch.relu(-x)


def random_leaky_relu(
    x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: None = None
) -> Tensor:
    """RReLU: a random slope below 0; after training, the mean slope."""
    if training:
        return torch.where(x < 0, x * (lower + (upper - lower) * torch.rand_like(x)), x)
    return torch.nn.functional.leaky_relu(x, (lower + upper) / 2)


def softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """`log(1 + exp(x))` without overflow, and `x` beyond `threshold`."""
    y = torch.relu(x) + torch.log(1 + torch.exp(-torch.abs(x * beta))) / beta
    if threshold >= STRAIGHT:
        return y
    return torch.where(x * beta > threshold, x, y)


def power_of_number(base: float, exponent: Tensor) -> Tensor:
    """`base ** x`."""
    return torch.exp(exponent * math.log(base))
