"""Activations and powers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STRAIGHT = 20
"""From here on softplus equals its argument in float32."""


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """`x` where positive, else `weight * x`, with one weight or one per channel."""
    slope = weight if weight.numel() == 1 or x.dim() < 2 else weight.reshape(-1, *[1] * (x.dim() - 2))
    return torch.relu(x) - slope * torch.relu(-x)


def rrelu(
    x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, generator: None = None
) -> Tensor:
    """RReLU: a random slope below 0 in training, the mean slope in eval mode."""
    if training:
        return torch.where(x < 0, x * (lower + (upper - lower) * torch.rand_like(x)), x)
    return torch.nn.functional.leaky_relu(x, (lower + upper) / 2)


def softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """`log(1 + exp(x))` without overflow, and `x` beyond `threshold`."""
    y = torch.relu(x) + torch.log(1 + torch.exp(-torch.abs(x * beta))) / beta
    if threshold >= STRAIGHT:
        return y
    return torch.where(x * beta > threshold, x, y)


def pow_of_scalar(base: float, exponent: Tensor) -> Tensor:
    """`base ** x`."""
    return torch.exp(exponent * math.log(base))


def exp2(exponent: Tensor) -> Tensor:
    """`2 ** x`."""
    return torch.exp(exponent * math.log(2))


def log2(x: Tensor) -> Tensor:
    """Logarithm to the base of 2."""
    return x.log() * (1 / math.log(2))


def log10(x: Tensor) -> Tensor:
    """Logarithm to the base of 10."""
    return x.log() * (1 / math.log(10))


def logaddexp(x: Tensor, other: Tensor) -> Tensor:
    """`log(exp(x) + exp(other))` without overflow."""
    return torch.maximum(x, other) + torch.log1p(torch.exp(-(x - other).abs()))


def logaddexp2(x: Tensor, other: Tensor) -> Tensor:
    """`log2(2 ** x + 2 ** other)` without overflow."""
    return logaddexp(x * math.log(2), other * math.log(2)) * (1 / math.log(2))


def xlogy(x: Tensor, other: Tensor) -> Tensor:
    """`xlogy`: `x * log(other)`, 0 where `x` is 0."""
    return torch.where(x == 0, 0.0, x * other.log())


def heaviside(x: Tensor, values: Tensor) -> Tensor:
    """`heaviside`: 0 below 0, 1 above, `values` at 0."""
    return torch.where(x == 0, values, (x > 0).to(x.dtype))


def copysign(x: Tensor, other: Tensor) -> Tensor:
    """`copysign`: the magnitude of `x` with the sign of `other`; -0.0 counts as positive."""
    return torch.where(other < 0, -x.abs(), x.abs())


ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
ERF_SCALE = 0.3275911
"""Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: largest error 1.5e-7."""


def erf(x: Tensor) -> Tensor:
    """`erf`, by an approximation that is correct to seven digits."""
    size = x.abs()
    t = 1 / (1 + ERF_SCALE * size)
    total = torch.zeros((), dtype=x.dtype)
    for factor in reversed(ERF):
        total = (total + factor) * t
    return x.sign() * (1 - total * torch.exp(-size * size))


def erfc(x: Tensor) -> Tensor:
    """`1 - erf(x)`."""
    return 1 - torch.erf(x)


def logit(x: Tensor, eps: float | None = None) -> Tensor:
    """`log(x / (1 - x))`, of `x` between `eps` and `1 - eps`."""
    x = x if eps is None or eps < 0 else x.clamp(eps, 1 - eps)
    return (x / (1 - x)).log()
