"""Trigonometric and hyperbolic functions, from those of LiteRT: sin, cos, exp, log, sqrt and atan2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

aten = torch.ops.aten


def tangent(x: Tensor) -> Tensor:
    """`sin / cos`."""
    return x.sin() / x.cos()


def arc_tangent(x: Tensor) -> Tensor:
    """The angle whose tangent is `x`."""
    return aten.atan2(x, torch.ones((), dtype=x.dtype))


def arc_sine(x: Tensor) -> Tensor:
    """The angle whose sine is `x`."""
    return aten.atan2(x, ((1 - x) * (1 + x)).sqrt())


def arc_cosine(x: Tensor) -> Tensor:
    """The angle whose cosine is `x`."""
    return aten.atan2(((1 - x) * (1 + x)).sqrt(), x)


def hyperbolic_sine(x: Tensor) -> Tensor:
    """`(exp(x) - exp(-x)) / 2`."""
    return (x.exp() - (-x).exp()) * 0.5


def hyperbolic_cosine(x: Tensor) -> Tensor:
    """`(exp(x) + exp(-x)) / 2`."""
    return (x.exp() + (-x).exp()) * 0.5


def inverse_hyperbolic_sine(x: Tensor) -> Tensor:
    """`log(x + sqrt(x^2 + 1))`, of the magnitude, which avoids cancellation."""
    size = x.abs()
    return x.sign() * (size + (size * size + 1).sqrt()).log()


def inverse_hyperbolic_cosine(x: Tensor) -> Tensor:
    """`log(x + sqrt(x^2 - 1))`."""
    return (x + ((x - 1) * (x + 1)).sqrt()).log()


def inverse_hyperbolic_tangent(x: Tensor) -> Tensor:
    """`log((1 + x) / (1 - x)) / 2`."""
    return ((1 + x) / (1 - x)).log() * 0.5


def length(x: Tensor, y: Tensor) -> Tensor:
    """`hypot`: the square root of the sum of two squares."""
    return (x * x + y * y).sqrt()


def cardinal_sine(x: Tensor) -> Tensor:
    """`sinc`: `sin(pi x) / (pi x)`, 1 at 0."""
    angle = x * math.pi
    is_zero = x == 0
    return torch.where(is_zero, 1.0, angle.sin() / torch.where(is_zero, 1.0, angle))
