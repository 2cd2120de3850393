"""Reductions, normalisations, softmax and cumulative sums.

Source: coremltools 9, `ops/defs/iOS15/reduction.py`, `normalization.py`, `activation.py`, `tensor_operation.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from export.emit.coreml.operators.arguments import Arguments, Operator, axis_of, flag, integers, number


def _reduce(compute: Callable[[Tensor, list[int]], Tensor]) -> Operator:
    """An operator that reduces `axes` (all if none are given), which `compute` keeps with length 1."""

    def operator(given: Arguments) -> Tensor:
        x = given["x"]
        axes = sorted(axis % x.dim() for axis in integers(given, "axes", list(range(x.dim()))))
        result = compute(x, axes)
        return result if flag(given, "keep_dims") else result.squeeze(axes)

    return operator


def _product(x: Tensor, axes: list[int]) -> Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True)
    return x


def _arg(pick: Callable[..., Tensor]) -> Operator:
    return lambda given: pick(given["x"], axis_of(given), keepdim=flag(given, "keep_dims"))


def _centred(x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True) + epsilon).sqrt()


def _scaled(x: Tensor, given: Arguments, shape: list[int]) -> Tensor:
    gamma, beta = given.get("gamma"), given.get("beta")
    x = x if gamma is None else x * gamma.reshape(shape)
    return x if beta is None else x + beta.reshape(shape)


def _channels(x: Tensor) -> list[int]:
    return [-1, *[1] * (x.dim() - 2)]


def _batch_norm(given: Arguments) -> Tensor:
    x, shape = given["x"], _channels(given["x"])
    deviation = (given["variance"] + number(given, "epsilon", 1e-5)).sqrt()
    return _scaled((x - given["mean"].reshape(shape)) / deviation.reshape(shape), given, shape)


def _instance_norm(given: Arguments) -> Tensor:
    x = given["x"]
    normed = _centred(x, list(range(2, x.dim())), number(given, "epsilon", 1e-5))
    return _scaled(normed, given, _channels(x))


def _layer_norm(given: Arguments) -> Tensor:
    x = given["x"]
    axes = [axis % x.dim() for axis in integers(given, "axes", list(range(x.dim())))]
    shape = [size if axis in axes else 1 for axis, size in enumerate(x.shape)]
    return _scaled(_centred(x, axes, number(given, "epsilon", 1e-5)), given, shape)


def _l2_norm(given: Arguments) -> Tensor:
    x = given["x"]
    squares = x.square().sum((-3, -2, -1), keepdim=True)
    return x / (squares + number(given, "epsilon", 1e-6)).sqrt()


def _local_response_norm(given: Arguments) -> Tensor:
    alpha, beta, k = (number(given, *pair) for pair in (("alpha", 1e-4), ("beta", 0.75), ("k", 1.0)))
    return F.local_response_norm(given["x"], int(given["size"]), alpha, beta, k)


def _cumsum(given: Arguments) -> Tensor:
    x, axis = given["x"], axis_of(given, default=0)
    backwards = flag(given, "reverse")
    ordered = x.flip(axis) if backwards else x
    total = ordered.cumsum(axis)
    total = total - ordered if flag(given, "exclusive") else total
    return total.flip(axis) if backwards else total


STATISTICS: dict[str, Operator] = {
    "reduce_sum": _reduce(lambda x, axes: x.sum(axes, keepdim=True)),
    "reduce_mean": _reduce(lambda x, axes: x.mean(axes, keepdim=True)),
    "reduce_max": _reduce(lambda x, axes: x.amax(axes, keepdim=True)),
    "reduce_min": _reduce(lambda x, axes: x.amin(axes, keepdim=True)),
    "reduce_prod": _reduce(_product),
    "reduce_l1_norm": _reduce(lambda x, axes: x.abs().sum(axes, keepdim=True)),
    "reduce_l2_norm": _reduce(lambda x, axes: x.square().sum(axes, keepdim=True).sqrt()),
    "reduce_sum_square": _reduce(lambda x, axes: x.square().sum(axes, keepdim=True)),
    "reduce_log_sum": _reduce(lambda x, axes: x.sum(axes, keepdim=True).log()),
    "reduce_log_sum_exp": _reduce(lambda x, axes: x.logsumexp(axes, keepdim=True)),
    "reduce_argmax": _arg(torch.argmax),
    "reduce_argmin": _arg(torch.argmin),
    "softmax": lambda given: given["x"].softmax(axis_of(given)),
    "cumsum": _cumsum,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
    "l2_norm": _l2_norm,
    "local_response_norm": _local_response_norm,
}
"""Name in MIL -> implementation."""
