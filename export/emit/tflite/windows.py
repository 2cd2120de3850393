"""Operators that slide a window over an image: convolutions and poolings, always `N H W C` in memory.

LiteRT has two padding modes. VALID is none. SAME puts half of the missing entries in front, which is torch's
symmetric padding only if that half happens to be the same number: not for stride 2 on even sizes, where torch
begins one pixel outside and LiteRT does not. Such padding is written as a PAD operator, which XNNPACK fuses into a
float convolution and which is also faster in int8 than the other exact form, a kernel enlarged by zeros to 4x4 with
SAME (16 -> 32 channels on 8x56x56: 0.70 against 1.13 ms, int8 0.26 against 0.36).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.emit.tflite.emit import Emitter, Value
from export.emit.tflite.graph import Tensor
from export.emit.tflite.layout import channels_last
from export.emit.tflite.quantized import require_kernel_of_groups

_IMAGE = channels_last(4)
Pair = int | Sequence[int]


@dataclass(frozen=True)
class _Window:
    """Kernel, stride, padding and dilation along one axis of length `size`."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int = 1
    ceil: bool = False
    """Whether a last window that extends beyond the end counts too."""

    @property
    def reach(self) -> int:
        """Entries from the first to the last tap."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def count(self) -> int:
        """Number of windows in torch."""
        room = self.size + 2 * self.padding - self.reach
        count = room // self.stride + 1
        hangs_over = self.ceil and room % self.stride and count * self.stride < self.size + self.padding
        return count + 1 if hangs_over else count

    @property
    def is_same(self) -> bool:
        """Whether LiteRT's SAME begins at torch's position and has as many windows."""
        count = math.ceil(self.size / self.stride)
        lacking = max((count - 1) * self.stride + self.reach - self.size, 0)
        return count == self.count and lacking // 2 == self.padding

    @property
    def written_out(self) -> tuple[int, int]:
        """Padding (before, after) with which VALID gives torch's windows."""
        return self.padding, max((self.count - 1) * self.stride + self.reach - self.size - self.padding, 0)


def _pair(value: Pair) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    return (value[0], value[-1])


def _windows(
    x: Value, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = 1, ceil: bool = False
) -> tuple[_Window, _Window]:
    steps, taps, spread, pads = _pair(stride), _pair(kernel), _pair(dilation), _pair(padding)
    rows, columns = (
        _Window(x.shape[axis + 2], taps[axis], steps[axis], pads[axis], spread[axis], ceil) for axis in (0, 1)
    )
    return rows, columns


def _padded(
    e: Emitter, image: Tensor, windows: tuple[_Window, _Window], *, fill: float = 0.0
) -> tuple[Tensor, str]:
    """The image with an explicit PAD for padding that LiteRT cannot express, and the remaining padding mode."""
    if all(window.is_same for window in windows):
        return image, "SAME"
    rows, columns = windows
    return e.pad(image, [(0, 0), rows.written_out, columns.written_out, (0, 0)], fill=fill), "VALID"


def conv2d(
    e: Emitter,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Value:
    """`aten.conv2d`: DEPTHWISE_CONV_2D if every channel is a group, else CONV_2D (grouped or not)."""
    out_channels, group_channels, *kernel = weight.shape
    rows, columns = windows = _windows(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    options: dict[str, int | str] = {
        "strideH": rows.stride,
        "strideW": columns.stride,
        "dilationHFactor": rows.dilation,
        "dilationWFactor": columns.dilation,
    }
    depthwise = group_channels == 1 and groups == x.shape[1] and groups > 1
    if depthwise:
        kind, order = "DEPTHWISE_CONV_2D", (1, 2, 3, 0)
        options["depthMultiplier"] = out_channels // groups
    else:
        kind, order = "CONV_2D", (0, 2, 3, 1)
    image, options["padding"] = _padded(e, e.place(x, _IMAGE), windows)
    pointwise = list(kernel) == [1, 1] and (rows.count, columns.count) == x.shape[2:]
    require_kernel_of_groups(weight, is_linear=pointwise)
    offsets = e.place(bias, (0,)) if bias else e.constant(np.zeros(out_channels, np.float32))
    shape = (x.shape[0], rows.count, columns.count, out_channels)
    return Value(e.op(kind, [image, e.place(weight, order), offsets], shape, options=options), _IMAGE)


def conv1d(
    e: Emitter,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Value:
    """`aten.conv1d` as `conv2d` over images one pixel wide."""

    def tall(value: Pair) -> tuple[int, int]:
        return _pair(value)[0], 1

    column = e.reshape(x, (*x.shape, 1))
    kernel = e.reshape(weight, (*weight.shape, 1))
    pads = _pair(padding)[0], 0
    result = conv2d(e, column, kernel, bias, tall(stride), pads, tall(dilation), groups)
    return e.reshape(result, result.shape[:-1])


def convolution(
    e: Emitter,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    transposed: bool,
    output_padding: Pair,
    groups: int,
) -> Value:
    """`aten.convolution`, the decomposed name of `conv2d` and `conv1d`.

    Raises NotImplementedError for transposed convolutions.
    """
    if transposed:
        raise NotImplementedError("transposed convolutions are not translated; upsample, then convolve")
    along = conv1d if x.rank == 3 else conv2d
    return along(e, x, weight, bias, stride, padding, dilation, groups)


def _pool(e: Emitter, kind: str, image: Tensor, windows: tuple[_Window, _Window], padding: str) -> Value:
    rows, columns = windows
    options = {
        "padding": padding,
        "strideH": rows.stride,
        "strideW": columns.stride,
        "filterHeight": rows.kernel,
        "filterWidth": columns.kernel,
    }
    shape = (image.shape[0], rows.count, columns.count, image.shape[3])
    return Value(e.op(kind, [image], shape, options=options), _IMAGE)


def max_pool2d(
    e: Emitter,
    x: Value,
    kernel_size: Pair,
    stride: Pair = (),
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Value:
    """`aten.max_pool2d`; padding counts as minus infinity, or as 0 (which costs less) after a ReLU.

    Raises NotImplementedError for dilated windows.
    """
    if _pair(dilation) != (1, 1):
        raise NotImplementedError("pooling with dilation is not a LiteRT operator: slice the input instead")
    windows = _windows(x, kernel=kernel_size, stride=stride or kernel_size, padding=padding, ceil=ceil_mode)
    image = e.place(x, _IMAGE)
    fill = 0.0 if _never_negative(e, image) else -math.inf
    image, name = _padded(e, image, windows, fill=fill)
    return _pool(e, "MAX_POOL_2D", image, windows, name)


_NEVER_NEGATIVE = ("RELU", "RELU6", "LOGISTIC", "SOFTMAX")
_PASS_ON = (
    *("RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "PAD", "CONCATENATION"),
    *("MAX_POOL_2D", "AVERAGE_POOL_2D", "QUANTIZE", "DEQUANTIZE"),
)
"""Operators that keep non-negative inputs non-negative."""


def _never_negative(e: Emitter, tensor: Tensor) -> bool:
    producers = e.graph.producers()
    pending = [tensor]
    while pending:
        op = producers.get(pending.pop())
        if op is None:
            return False
        if op.kind in _PASS_ON:
            pending += [one for one in op.inputs if one.data is None]
        elif op.kind not in _NEVER_NEGATIVE:
            return False
    return True


def avg_pool2d(
    e: Emitter,
    x: Value,
    kernel_size: Pair,
    stride: Pair = (),
    padding: Pair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    """`aten.avg_pool2d`: explicit zero padding, and a factor for windows in which torch excludes the padding.

    Raises NotImplementedError for `divisor_override`.
    """
    rows, columns = windows = _windows(
        x, kernel=kernel_size, stride=stride or kernel_size, padding=padding, ceil=ceil_mode
    )
    if divisor_override is not None:
        raise NotImplementedError("avg_pool2d with divisor_override: multiply the result instead")
    image = e.place(x, _IMAGE)
    counted = np.multiply.outer(
        _share_counted(rows, padding_counts=count_include_pad),
        _share_counted(columns, padding_counts=count_include_pad),
    )
    is_padded = any(window.padding for window in windows)
    if is_padded and all(window.is_same for window in windows) and not count_include_pad:
        return _pool(e, "AVERAGE_POOL_2D", image, windows, "SAME")
    image = e.pad(image, [(0, 0), rows.written_out, columns.written_out, (0, 0)])
    pooled = _pool(e, "AVERAGE_POOL_2D", image, windows, "VALID")
    if (counted == 1).all():
        return pooled
    factor = e.constant((1.0 / counted)[None, :, :, None].astype(np.float32))
    return Value(e.op("MUL", [pooled.tensor, factor], pooled.tensor.shape), _IMAGE)


def _share_counted(window: _Window, *, padding_counts: bool) -> np.ndarray:
    """For each window, the share of its taps that torch counts in the mean."""
    margin = window.padding if padding_counts else 0
    starts = np.arange(window.count) * window.stride - window.padding
    counted = np.minimum(starts + window.kernel, window.size + margin) - np.maximum(starts, -margin)
    return counted / window.kernel
