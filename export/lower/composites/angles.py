"""Trigonometric and hyperbolic functions, from those of LiteRT: sin, cos, exp, log, sqrt and atan2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

aten = torch.ops.aten


def tan(x: Tensor) -> Tensor:
    """`sin / cos`."""
    return x.sin() / x.cos()


def atan(x: Tensor) -> Tensor:
    """The angle whose tangent is `x`."""
    return aten.atan2(x, torch.ones((), dtype=x.dtype))


def asin(x: Tensor) -> Tensor:
    """The angle whose sine is `x`."""
    return aten.atan2(x, ((1 - x) * (1 + x)).sqrt())


def acos(x: Tensor) -> Tensor:
    """The angle whose cosine is `x`."""
    return aten.atan2(((1 - x) * (1 + x)).sqrt(), x)


def sinh(x: Tensor) -> Tensor:
    """`(exp(x) - exp(-x)) / 2`."""
    return (x.exp() - (-x).exp()) * 0.5


def cosh(x: Tensor) -> Tensor:
    """`(exp(x) + exp(-x)) / 2`."""
    return (x.exp() + (-x).exp()) * 0.5


def asinh(x: Tensor) -> Tensor:
    """`log(x + sqrt(x^2 + 1))`, of the magnitude, which avoids cancellation."""
    size = x.abs()
    return x.sign() * (size + (size * size + 1).sqrt()).log()


def acosh(x: Tensor) -> Tensor:
    """`log(x + sqrt(x^2 - 1))`."""
    return (x + ((x - 1) * (x + 1)).sqrt()).log()


def atanh(x: Tensor) -> Tensor:
    """`log((1 + x) / (1 - x)) / 2`."""
    return ((1 + x) / (1 - x)).log() * 0.5


def hypot(x: Tensor, y: Tensor) -> Tensor:
    """`hypot`: the square root of the sum of two squares."""
    return (x * x + y * y).sqrt()


def sinc(x: Tensor) -> Tensor:
    """`sinc`: `sin(pi x) / (pi x)`, 1 at 0."""
    angle = x * math.pi
    is_zero = x == 0
    return torch.where(is_zero, 1.0, angle.sin() / torch.where(is_zero, 1.0, angle))
