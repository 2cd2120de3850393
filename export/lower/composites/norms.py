"""Normalisations, variances and norms."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

aten = torch.ops.aten


def group_norm(
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    """GroupNorm (arXiv:1803.08494) with a mean and a variance per channel, averaged over the channels of a group.

    A value thus keeps its form: its channels are never split into groups.
    """
    channels, axes = x.shape[1], list(range(2, x.dim()))

    def over_group(per_channel: Tensor) -> Tensor:
        if groups == channels:
            return per_channel
        share = torch.eye(groups).repeat_interleave(channels // groups, 1)
        return (per_channel.flatten(1) @ (share.T @ share * (groups / channels))).reshape(per_channel.shape)

    if not axes:
        return group_norm(x[:, :, None], groups, weight, bias, eps).squeeze(2)
    centred = x - over_group(x.mean(axes, keepdim=True))
    spread = over_group((centred * centred).mean(axes, keepdim=True))
    y = centred * torch.rsqrt(spread + eps)
    per_channel = (1, channels, *[1] * len(axes))
    y = y if weight is None else y * weight.reshape(per_channel)
    return y if bias is None else y + bias.reshape(per_channel)


def instance_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    cudnn_enabled: bool,
) -> Tensor:
    """GroupNorm of one channel per group, or BatchNorm if it tracks statistics."""
    if use_input_stats:
        return group_norm(x, x.shape[1], weight, bias, eps)
    return aten._native_batch_norm_legit_no_training(
        x, weight, bias, running_mean, running_var, momentum, eps
    )[0]


def vector_norm(
    x: Tensor,
    order: float = 2,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """`(sum |x|^order)^(1/order)`; number of nonzero elements for order 0, maximum or minimum for infinite
    order."""
    x = x if dtype is None else x.to(dtype)
    axes = list(range(x.dim())) if dim is None else list(dim)
    if abs(order) == math.inf:
        return x.abs().amax(axes, keepdim) if order > 0 else x.abs().amin(axes, keepdim)
    if order == 0:
        return (x != 0).to(x.dtype).sum(axes, keepdim)
    if order == 1:
        return x.abs().sum(axes, keepdim)
    if order == 2:
        return (x * x).sum(axes, keepdim).sqrt()
    return x.abs().pow(order).sum(axes, keepdim).pow(1 / order)


def variance(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    """Mean of the squared distances from the mean, with the divisor reduced by `correction` (one if None)."""
    return variance_and_mean(x, dim, correction=correction, keepdim=keepdim)[0]


def variance_and_mean(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    """`variance` and the mean."""
    axes = list(range(x.dim())) if dim is None else list(dim)
    centre = x.mean(axes, keepdim=True)
    squares = (x - centre) * (x - centre)
    count = math.prod(x.shape[axis] for axis in axes)
    spread = squares.mean(axes, keepdim=True) * (count / (count - (1 if correction is None else correction)))
    return (spread, centre) if keepdim else (_without(spread, axes), _without(centre, axes))


def _without(x: Tensor, axes: Sequence[int]) -> Tensor:
    gone = {axis % x.dim() for axis in axes}
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in gone])


def log_sum_exp(x: Tensor, dim: Sequence[int], keepdim: bool = False) -> Tensor:
    """`log(sum(exp(x)))` without overflow."""
    axes = list(dim)
    largest = x.amax(axes, keepdim=True)
    y = (x - largest).exp().sum(axes, keepdim=True).log() + largest
    return y if keepdim else _without(y, dim)
