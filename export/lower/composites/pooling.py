"""Adaptive pooling, and 1D pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from export.lower.composites.mixing import mixed
from export.lower.source import bind

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
    """Adaptive maximum pooling: windows of one size, or each separately; without the indices of the maxima."""
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
    """The axes of adaptive pooling, and their lengths."""
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


CONVOLUTIONS = {2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}
"""Convolutions by the number of axes."""


def average_with_divisor(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """`avg_pool2d` and `avg_pool3d` with `divisor_override`: a convolution with equal weights."""
    if divisor_override is None:
        return NotImplemented
    axes = len(kernel_size) if len(kernel_size) > 1 else x.dim() - 2
    if x.dim() != axes + 2:
        return NotImplemented
    kernel, stride, padding = (
        list(numbers) * (axes // len(numbers)) for numbers in (kernel_size, stride or kernel_size, padding)
    )
    behind = []
    for size, k, s, p in zip(x.shape[2:], kernel, stride, padding, strict=True):
        room = size + 2 * p - k
        hangs = ceil_mode and room % s and (room // s + 1) * s < size + p
        behind.append(s - room % s if hangs else 0)
    if any(behind):
        x = torch.nn.functional.pad(x, [amount for last in reversed(behind) for amount in (0, last)])
    weight = torch.full((x.shape[1], 1, *kernel), 1 / divisor_override)
    return CONVOLUTIONS[axes](x, weight, None, stride, padding, 1, x.shape[1])


def dilated_max_pool(
    x: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Tensor:
    """`max_pool2d` with dilation, for runtimes without it: the maximum of slices, axis by axis."""
    numbers = (kernel_size, stride or kernel_size, padding, dilation)
    for axis, (k, s, p, d) in enumerate(
        zip(*(list(n) * (2 // len(n)) for n in numbers), strict=True), x.dim() - 2
    ):
        room = x.shape[axis] + 2 * p - d * (k - 1) - 1
        count = room // s + 1
        if ceil_mode and room % s and count * s < x.shape[axis] + p:
            count += 1
        reach = (count - 1) * s + d * (k - 1) + 1
        last = max(reach - x.shape[axis] - p, 0)
        if p or last:
            amounts = [0, 0, p, last] if axis == x.dim() - 2 else [p, last]
            x = aten.constant_pad_nd(x, amounts, -torch.inf)
        taps = [aten.slice(x, axis, d * tap, d * tap + (count - 1) * s + 1, s) for tap in range(k)]
        x = taps[0]
        for tap in taps[1:]:
            x = torch.maximum(x, tap)
    return x


def decompose_dilated_max_pool(graph: fx.Graph) -> None:
    """Replaces max pooling with dilation by the maximum of slices; `graph` must be traced afterwards."""
    for node in graph.nodes:
        if node.target is not aten.max_pool2d.default:
            continue
        dilation = bind(node, node.args, node.kwargs)["dilation"]
        if any(step != 1 for step in ([dilation] if isinstance(dilation, int) else dilation)):
            node.target = dilated_max_pool
