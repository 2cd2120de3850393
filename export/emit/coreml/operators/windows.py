"""Convolution and pooling over one to three spatial axes, with MIL's padding modes.

Source: coremltools 9, `ops/defs/iOS15/conv.py`, `pool.py` and `ops/defs/_utils.py` (padding arithmetic).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from export.emit.coreml.operators.arguments import Arguments, Operator, flag, integers, number, text

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}

Sides = list[tuple[int, int]]
"""Padding before and after each spatial axis."""


def _halves(total: int, kind: str) -> tuple[int, int]:
    """`total` split over both sides; the extra element goes to the end for `same`, to the start for
    `same_lower`."""
    before = total - total // 2 if kind == "same_lower" else total // 2
    return before, total - before


def _padding(given: Arguments, reach: Sequence[int], strides: Sequence[int]) -> Sides:
    """Padding for a window that spans `reach` elements of each axis."""
    kind, sizes = text(given, "pad_type", "valid"), given["x"].shape[2:]
    if kind == "valid":
        return [(0, 0)] * len(sizes)
    if kind == "custom":
        pad = integers(given, "pad", [0] * 2 * len(sizes))
        return list(zip(pad[::2], pad[1::2], strict=True))
    totals = [
        max(0, (math.ceil(size / stride) - 1) * stride + window - size)
        for size, window, stride in zip(sizes, reach, strides, strict=True)
    ]
    return [_halves(total, kind) for total in totals]


def _pad(x: Tensor, sides: Sides, value: float) -> Tensor:
    return F.pad(x, [count for side in reversed(sides) for count in side], value=value)


def _conv(given: Arguments) -> Tensor:
    x, weight = given["x"], given["weight"]
    rank = x.dim() - 2
    strides = integers(given, "strides", [1] * rank)
    dilations = integers(given, "dilations", [1] * rank)
    reach = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilations, strict=True)]
    sides = _padding(given, reach, strides)
    implicit = [before for before, _ in sides]
    if any(before != after for before, after in sides):
        x, implicit = _pad(x, sides, 0.0), [0] * rank
    groups = int(number(given, "groups", 1))
    return _CONV[rank](x, weight, given.get("bias"), strides, implicit, dilations, groups)


def _conv_transpose(given: Arguments) -> Tensor:
    x, weight = given["x"], given["weight"]
    rank = x.dim() - 2
    strides = integers(given, "strides", [1] * rank)
    dilations = integers(given, "dilations", [1] * rank)
    groups = int(number(given, "groups", 1))
    full = _CONV_TRANSPOSE[rank](x, weight, None, strides, 0, 0, groups, dilations)
    kind, lengths = text(given, "pad_type", "valid"), full.shape[2:]
    if kind == "same":
        wanted = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
        before = [max(0, length - size) // 2 for length, size in zip(lengths, wanted, strict=True)]
    else:
        pad = integers(given, "pad", [0] * 2 * rank) if kind == "custom" else [0] * 2 * rank
        before = pad[::2]
        wanted = [
            length - first - last for length, first, last in zip(lengths, before, pad[1::2], strict=True)
        ]
    wanted = integers(given, "output_shape", [0, 0, *wanted])[2:]
    sides = [
        (-first, first + size - length) for first, size, length in zip(before, wanted, lengths, strict=True)
    ]
    cropped = _pad(full, sides, 0.0)
    bias = given.get("bias")
    return cropped if bias is None else cropped + bias.reshape(-1, *[1] * rank)


def _pool_geometry(given: Arguments) -> tuple[list[int], list[int], Sides, Sides]:
    """Kernel, strides, padding, and what ceil mode reads beyond it at the end of each axis."""
    sizes = given["x"].shape[2:]
    kernel = integers(given, "kernel_sizes", [])
    strides = integers(given, "strides", [1] * len(sizes))
    sides = _padding(given, kernel, strides)
    beyond = [(0, 0)] * len(sizes)
    if flag(given, "ceil_mode"):
        for axis, size in enumerate(sizes):
            before, after = sides[axis]
            count = math.ceil((size + before + after - kernel[axis]) / strides[axis]) + 1
            if (count - 1) * strides[axis] >= size + before and before + after > 0:
                count -= 1
            needed = (count - 1) * strides[axis] + kernel[axis]
            beyond[axis] = (0, max(0, needed - size - before - after))
    return kernel, strides, sides, beyond


def _max_pool(given: Arguments) -> Tensor:
    kernel, strides, sides, beyond = _pool_geometry(given)
    x = _pad(_pad(given["x"], sides, -math.inf), beyond, -math.inf)
    return _MAX_POOL[len(kernel)](x, kernel, strides)


def _mean(x: Tensor, given: Arguments, padding: float = 0.0) -> Tensor:
    """Sum of every window over the size of the kernel; what ceil mode reads beyond the padding is 0."""
    kernel, strides, sides, beyond = _pool_geometry(given)
    return _AVG_POOL[len(kernel)](_pad(_pad(x, sides, padding), beyond, 0.0), kernel, strides)


def _avg_pool(given: Arguments) -> Tensor:
    """Elements that ceil mode reads beyond the padding never count, as in torch; padding counts unless excluded."""
    padding = 0.0 if flag(given, "exclude_padding_from_average") else 1.0
    counted = _mean(torch.ones_like(given["x"][:1, :1]), given, padding)
    return _mean(given["x"], given) / counted


def _l2_pool(given: Arguments) -> Tensor:
    return (_mean(given["x"].square(), given) * given["kernel_sizes"].prod()).sqrt()


WINDOWS: dict[str, Operator] = {
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "l2_pool": _l2_pool,
}
"""Name in MIL -> implementation."""
