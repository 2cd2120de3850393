"""Elementwise operators, activations included; operands broadcast.

Source of every formula: coremltools 9, `converters/mil/mil/ops/defs` (elementwise_unary, elementwise_binary,
activation), docstrings of the operators.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from export.emit.coreml.operators.arguments import Arguments, Operator, number, text


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """One value per channel, shaped to broadcast over `like`, `N C ...`."""
    return values.reshape(-1, *([1] * (like.dim() - 2)))


def _gelu(given: Arguments) -> Tensor:
    mode = text(given, "mode", "EXACT")
    if mode == "SIGMOID_APPROXIMATION":
        return given["x"] * torch.sigmoid(1.702 * given["x"])
    return F.gelu(given["x"], approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def _prelu(given: Arguments) -> Tensor:
    x = given["x"]
    return torch.where(x > 0, x, x * _per_channel(given["alpha"], x))


def _softplus_parametric(given: Arguments) -> Tensor:
    alpha, beta = (_per_channel(given[name], given["x"]) for name in ("alpha", "beta"))
    return alpha * F.softplus(beta * given["x"])


def _clamped_relu(given: Arguments) -> Tensor:
    x = given["x"]
    return torch.minimum(torch.where(x >= 0, x, given["alpha"] * x), given["beta"])


ELEMENTWISE: dict[str, Operator] = {
    "identity": lambda given: given["x"],
    "cast": lambda given: given["x"],
    "abs": lambda given: given["x"].abs(),
    "acos": lambda given: given["x"].acos(),
    "asin": lambda given: given["x"].asin(),
    "atan": lambda given: given["x"].atan(),
    "atanh": lambda given: given["x"].atanh(),
    "ceil": lambda given: given["x"].ceil(),
    "cos": lambda given: given["x"].cos(),
    "cosh": lambda given: given["x"].cosh(),
    "erf": lambda given: given["x"].erf(),
    "exp": lambda given: given["x"].exp(),
    "exp2": lambda given: torch.exp2(given["x"]),
    "floor": lambda given: given["x"].floor(),
    "inverse": lambda given: 1 / (given["x"] + number(given, "epsilon", 1e-4)),
    "log": lambda given: (given["x"] + number(given, "epsilon", 1e-45)).log(),
    "logical_not": lambda given: given["x"].logical_not(),
    "round": lambda given: given["x"].round(),
    "rsqrt": lambda given: (given["x"] + number(given, "epsilon", 1e-12)).rsqrt(),
    "sign": lambda given: given["x"].sign(),
    "sin": lambda given: given["x"].sin(),
    "sinh": lambda given: given["x"].sinh(),
    "sqrt": lambda given: given["x"].sqrt(),
    "square": lambda given: given["x"].square(),
    "tan": lambda given: given["x"].tan(),
    "tanh": lambda given: given["x"].tanh(),
    "threshold": lambda given: torch.maximum(given["x"], given["alpha"]),
    "clip": lambda given: given["x"].clamp(given["alpha"], given["beta"]),
    "add": lambda given: given["x"] + given["y"],
    "sub": lambda given: given["x"] - given["y"],
    "mul": lambda given: given["x"] * given["y"],
    "real_div": lambda given: given["x"] / given["y"],
    "floor_div": lambda given: torch.div(given["x"], given["y"], rounding_mode="floor"),
    "mod": lambda given: torch.remainder(given["x"], given["y"]),
    "pow": lambda given: torch.pow(given["x"], given["y"]),
    "maximum": lambda given: torch.maximum(given["x"], given["y"]),
    "minimum": lambda given: torch.minimum(given["x"], given["y"]),
    "equal": lambda given: given["x"] == given["y"],
    "not_equal": lambda given: given["x"] != given["y"],
    "less": lambda given: given["x"] < given["y"],
    "less_equal": lambda given: given["x"] <= given["y"],
    "greater": lambda given: given["x"] > given["y"],
    "greater_equal": lambda given: given["x"] >= given["y"],
    "logical_and": lambda given: given["x"].logical_and(given["y"]),
    "logical_or": lambda given: given["x"].logical_or(given["y"]),
    "logical_xor": lambda given: given["x"].logical_xor(given["y"]),
    "select": lambda given: torch.where(given["cond"], given["a"], given["b"]),
    "relu": lambda given: given["x"].relu(),
    "relu6": lambda given: given["x"].clamp(0, 6),
    "clamped_relu": _clamped_relu,
    "thresholded_relu": lambda given: torch.where(given["x"] >= given["alpha"], given["x"], 0.0),
    "leaky_relu": lambda given: torch.where(given["x"] >= 0, given["x"], given["alpha"] * given["x"]),
    "prelu": _prelu,
    "elu": lambda given: torch.where(given["x"] > 0, given["x"], given["alpha"] * given["x"].expm1()),
    "gelu": _gelu,
    "silu": lambda given: F.silu(given["x"]),
    "sigmoid": lambda given: given["x"].sigmoid(),
    "sigmoid_hard": lambda given: (given["alpha"] * given["x"] + given["beta"]).clamp(0, 1),
    "scaled_tanh": lambda given: given["alpha"] * torch.tanh(given["beta"] * given["x"]),
    "linear_activation": lambda given: given["alpha"] * given["x"] + given["beta"],
    "softplus": lambda given: F.softplus(given["x"]),
    "softplus_parametric": _softplus_parametric,
    "softsign": lambda given: F.softsign(given["x"]),
}
"""Name in MIL -> implementation."""
