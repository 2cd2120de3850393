"""Adaptive pooling, and pooling of one axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from export.lower.composites.mixing import mixed

aten = torch.ops.aten


def adaptive_average(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """Adaptive average pooling: a mean, windows of one size, or fixed weights where windows differ in size."""
    axes = range(x.dim() - len(output_size), x.dim())
    sizes = [x.shape[axis] for axis in axes]
    if all(new == 1 for new in output_size):
        return x.mean(list(axes), keepdim=True)
    kernel = [size // new if size % new == 0 else 1 for size, new in zip(sizes, output_size, strict=True)]
    if any(length > 1 for length in kernel):
        pools = {1: aten.avg_pool1d, 2: aten.avg_pool2d, 3: aten.avg_pool3d}
        x = pools[len(kernel)].default(x, kernel, kernel)
    for axis, size, new in zip(axes, sizes, output_size, strict=True):
        if size % new:
            units = torch.eye(size).reshape(1, size, size, 1)
            x = mixed(x, axis, aten._adaptive_avg_pool2d.default(units, [new, 1])[0, :, :, 0].T)
    return x


def adaptive_maximum(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, None]:
    """Adaptive maximum pooling along one axis after the other; without the places of the maxima."""
    for axis, new in enumerate(output_size, x.dim() - len(output_size)):
        size = x.shape[axis]
        if new == size:
            continue
        spans = [(i * size // new, -(-(i + 1) * size // new)) for i in range(new)]
        parts = [x.narrow(axis, a, b - a).amax(axis, keepdim=True) for a, b in spans]
        x = torch.cat(parts, axis) if new > 1 else parts[0]
    return x, None


def max_pool1d(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Tensor:
    """Pooling of rows one pixel high."""
    geometry = ([1, *kernel_size], [1, *(stride or kernel_size)], [0, *padding], [1, *dilation], ceil_mode)
    return aten.max_pool2d.default(x.unsqueeze(-2), *geometry).squeeze(-2)


def avg_pool1d(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Pooling of rows one pixel high."""
    geometry = ([1, *kernel_size], [1, *(stride or kernel_size)], [0, *padding], ceil_mode, count_include_pad)
    return aten.avg_pool2d.default(x.unsqueeze(-2), *geometry).squeeze(-2)
