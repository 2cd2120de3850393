"""The quantize and dequantize operators that PT2E inserts in a graph (torch.ops.quantized_decomposed)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from export.emit.tflite.emit import Emitter, Value
from export.emit.tflite.graph import Quantization, Tensor, constant

_SHIFT = {torch.int8: 0, torch.uint8: 128}
"""Offset to subtract from numbers and zero points for int8, LiteRT's type."""

GROUP = 32
"""Groups of XNNPACK's kernel `qd8-f32-qb4w` have a multiple of this number of weights."""

Number = float | Value


def quantize(
    e: Emitter,
    x: Value,
    scale: Number,
    zero_point: Number,
    quant_min: Number,
    quant_max: Number,
    dtype: torch.dtype,
) -> Value:
    """QUANTIZE to int8 with one scale."""
    tensor = e.place(x, x.order)
    output = e.op("QUANTIZE", [tensor], tensor.shape, dtype="int8")
    output.quantization = _per_tensor(scale, zero_point, dtype)
    return Value(output, x.order)


def dequantize(
    e: Emitter,
    x: Value,
    scale: Number,
    zero_point: Number,
    quant_min: Number,
    quant_max: Number,
    dtype: torch.dtype,
    *,
    out_dtype: object = None,
) -> Value:
    """DEQUANTIZE; a constant keeps its int8 numbers and gets the quantization parameters."""
    meaning = _per_tensor(scale, zero_point, dtype)
    if x.is_constant:
        return Value(_int8_constant(x.tensor, meaning, dtype), x.order)
    assert x.tensor.quantization == meaning, (
        "the graph reads int8 numbers with another scale than it wrote them"
    )
    return Value(e.op("DEQUANTIZE", [x.tensor], x.tensor.shape), x.order)


def dequantize_per_channel(
    e: Emitter,
    x: Value,
    scales: Value,
    zero_points: Value | None,
    axis: int,
    quant_min: int,
    quant_max: int,
    dtype: torch.dtype,
    *,
    out_dtype: object = None,
) -> Value:
    """A constant weight with one scale for each output channel.

    Raises NotImplementedError if the value is not a constant, which LiteRT's int8 scheme requires.
    """
    if not x.is_constant or scales.tensor.data is None:
        raise NotImplementedError(
            "per-channel numbers that are not a constant weight: quantize them per tensor"
        )
    points = np.zeros(len(scales.tensor.data), np.int64) if zero_points is None else zero_points.tensor.data
    assert points is not None
    shifted = tuple(int(point) - _shift(dtype) for point in points)
    meaning = Quantization(tuple(float(s) for s in scales.tensor.data), shifted, x.axis(axis))
    return Value(_int8_constant(x.tensor, meaning, dtype), x.order)


def dequantize_in_groups(
    e: Emitter,
    x: Value,
    block_size: Sequence[int],
    scales: Value,
    zero_points: Value,
    input_dtype: torch.dtype,
    quant_min: int,
    quant_max: int,
    output_dtype: torch.dtype = torch.float32,
) -> Value:
    """A constant weight with one scale for each group of input channels of an output channel."""
    assert x.is_constant and scales.tensor.data is not None
    shared = scales.tensor.data.reshape(-1)
    meaning = Quantization(
        tuple(float(scale) for scale in shared), (0,) * len(shared), x.axis(0), groups=scales.shape[1]
    )
    return Value(_int8_constant(x.tensor, meaning, input_dtype), x.order)


def require_kernel_of_groups(weight: Value, *, is_linear: bool) -> None:
    """Raises NotImplementedError for a weight in groups of a layer for which LiteRT has no kernel.

    `is_linear` tells whether each output position depends on one input position: the layer is a linear one, or a
    convolution that is written as such.
    """
    meaning = weight.tensor.quantization
    if meaning is None or meaning.groups == 1:
        return
    size = math.prod(weight.shape[1:]) // meaning.groups
    if size % GROUP or not is_linear:
        raise NotImplementedError(
            f"int4 weights of shape {'x'.join(map(str, weight.shape))} in groups of {size}, for which LiteRT has "
            f"kernels in linear layers and pointwise convolutions only, and for multiples of {GROUP}: "
            "use w4 without group_size for .tflite files"
        )


def _per_tensor(scale: Number, zero_point: Number, dtype: torch.dtype) -> Quantization:
    return Quantization((float(np.float32(_number(scale))),), (int(_number(zero_point)) - _shift(dtype),))


def _number(value: Number) -> float:
    if not isinstance(value, Value):
        return value
    assert value.tensor.data is not None, "scales and zero points are constants after conversion"
    return value.tensor.data.item()


def _shift(dtype: torch.dtype) -> int:
    if dtype not in _SHIFT:
        raise NotImplementedError(f"quantized numbers of type {dtype}: LiteRT files take int8 and uint8")
    return _SHIFT[dtype]


def _int8_constant(tensor: Tensor, meaning: Quantization, dtype: torch.dtype) -> Tensor:
    assert tensor.data is not None
    numbers = (tensor.data.astype(np.int16) - _shift(dtype)).astype(np.int8)
    return constant(tensor.name, numbers, quantization=meaning)
