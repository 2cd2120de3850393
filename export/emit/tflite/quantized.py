"""The quantize and dequantize operators that PT2E inserts in a graph (torch.ops.quantized_decomposed)."""

from __future__ import annotations

import numpy as np
import torch

from export.emit.tflite.emit import Emitter, Value
from export.emit.tflite.graph import Quantization, Tensor, constant

_SHIFT = {torch.int8: 0, torch.uint8: 128}
"""Offset to subtract from numbers and zero points for int8, LiteRT's type."""

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
