"""Adaptive pooling, and pooling of one axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from export.lower.composites.mixing import mixed

aten = torch.ops.aten


AVERAGES = {1: aten.avg_pool1d.default, 2: aten.avg_pool2d.default, 3: aten.avg_pool3d.default}
MAXIMA = {1: aten.max_pool1d.default, 2: aten.max_pool2d.default, 3: aten.max_pool3d.default}
"""Pooling by the number of axes."""


def adaptive_average(x: Tensor, output_size: Sequence[int]) -> Tensor:
    """Adaptive average pooling: a mean, windows of one size, or fixed weights where windows differ in size."""
    axes, sizes = _pooled(x, output_size)
    if all(new == 1 for new in output_size):
        return x.mean(axes, keepdim=True)
    kernel = [size // new if size % new == 0 else 1 for size, new in zip(sizes, output_size, strict=True)]
    if any(length > 1 for length in kernel):
        x = AVERAGES[len(kernel)](x, kernel, kernel)
    for axis, size, new in zip(axes, sizes, output_size, strict=True):
        if size % new:
            units = torch.eye(size).reshape(1, size, size, 1)
            x = mixed(x, axis, aten._adaptive_avg_pool2d.default(units, [new, 1])[0, :, :, 0].T)
    return x


def adaptive_maximum(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, None]:
    """Adaptive maximum pooling: windows of one size, or each by itself; without the places of the maxima."""
    axes, sizes = _pooled(x, output_size)
    kernel = [size // new if size % new == 0 else 1 for size, new in zip(sizes, output_size, strict=True)]
    if any(length > 1 for length in kernel):
        x = MAXIMA[len(kernel)](x, kernel, kernel)
    for position, (axis, size, new) in enumerate(zip(axes, sizes, output_size, strict=True)):
        if size % new:
            parts = []
            for i in range(new):
                first, last = i * size // new, -(-(i + 1) * size // new)
                window = [last - first if other == position else 1 for other in range(len(axes))]
                parts.append(MAXIMA[len(axes)](x.narrow(axis, first, last - first), window, window))
            x = torch.cat(parts, axis)
    return x, None


def _pooled(x: Tensor, output_size: Sequence[int]) -> tuple[list[int], list[int]]:
    """The axes that adaptive pooling works on, and their lengths."""
    axes = list(range(x.dim() - len(output_size), x.dim()))
    return axes, [x.shape[axis] for axis in axes]


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
