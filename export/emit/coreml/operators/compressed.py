"""Compressed constants, and conversion between float and int8.

Source: coremltools 9, `ops/defs/iOS16/constexpr_ops.py`, `iOS17/quantization_ops.py`, `iOS18/compression.py`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from export.emit.coreml.operators.arguments import Arguments, Operator, axis_of, integers, text

_INTEGERS = {"int8": (-128, 127), "uint8": (0, 255)}


def _along(values: Tensor, like: Tensor, given: Arguments) -> Tensor:
    """A scalar, or a vector along the axis that `given` names."""
    if values.dim() == 0:
        return values
    shape = [1] * like.dim()
    shape[axis_of(given)] = -1
    return values.reshape(shape)


def _dequantized(data: Tensor, given: Arguments) -> Tensor:
    zero_point = given.get("zero_point")
    centred = data if zero_point is None else data - _along(zero_point, data, given)
    return centred * _along(given["scale"], data, given)


def _quantize(given: Arguments) -> Tensor:
    x, zero_point = given["input"], given.get("zero_point")
    steps = (x / _along(given["scale"], x, given)).round()
    steps = steps if zero_point is None else steps + _along(zero_point, x, given)
    return steps.clamp(*_INTEGERS[text(given, "output_dtype", "int8")])


def _spread(values: Tensor, shape: torch.Size) -> Tensor:
    """`values` repeated over the blocks of a tensor of `shape`."""
    for axis, length in enumerate(shape):
        values = values.repeat_interleave(length // values.shape[axis], axis)
    return values


def _shift_scale(data: Tensor, given: Arguments) -> Tensor:
    offset = given.get("offset")
    centred = data if offset is None else data - _spread(offset, data.shape)
    return centred * _spread(given["scale"], data.shape)


def _bits(packed: Tensor, width: int, count: int) -> Tensor:
    """The first `count` numbers of `width` bits in bytes, least significant bit first."""
    flat = np.unpackbits(packed.numpy().astype(np.uint8), bitorder="little")[: count * width]
    return torch.from_numpy(flat.reshape(count, width) @ (1 << np.arange(width)))


def _looked_up(indices: Tensor, given: Arguments) -> Tensor:
    """Vectors of `lut` (blocks, palette, vector) chosen by `indices`, along `vector_axis`."""
    lut = given["lut"]
    tables = _spread(lut, indices.shape)
    chosen = tables.take_along_dim(indices.long()[..., None, None], -2).squeeze(-2)
    if lut.shape[-1] == 1:
        return chosen.squeeze(-1)
    axis = axis_of(given, "vector_axis") % indices.dim()
    return chosen.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _lut_to_dense(given: Arguments) -> Tensor:
    if given.get("shape") is None:
        return _looked_up(given["indices"], given)
    shape, lut = integers(given, "shape", []), given["lut"]
    indices = _bits(given["indices"], int(math.log2(len(lut))), math.prod(shape))
    return lut[indices].reshape(shape)


def _dense(data: Tensor, mask: Tensor) -> Tensor:
    dense = torch.zeros(mask.shape, dtype=data.dtype)
    dense[mask.bool()] = data
    return dense


def _sparse_to_dense(given: Arguments) -> Tensor:
    data, mask = given["nonzero_data"], given["mask"]
    if given.get("shape") is not None:
        shape = integers(given, "shape", [])
        mask = _bits(mask, 1, math.prod(shape)).reshape(shape)
    return _dense(data, mask)


def _lut_to_sparse(given: Arguments) -> tuple[Tensor, Tensor]:
    mask = given["indices_mask"]
    dense = _looked_up(_dense(given["indices_nonzero_data"], mask), given)
    if dense.shape != mask.shape:
        mask = mask.repeat_interleave(given["lut"].shape[-1], axis_of(given, "vector_axis"))
    return mask, dense[mask.bool()]


def _sparse_shift_scale(given: Arguments) -> tuple[Tensor, Tensor]:
    mask = given["data_mask"]
    return mask, _shift_scale(_dense(given["nonzero_data"], mask), given)[mask.bool()]


COMPRESSED: dict[str, Operator] = {
    "quantize": _quantize,
    "dequantize": lambda given: _dequantized(given["input"], given),
    "constexpr_affine_dequantize": lambda given: _dequantized(given["quantized_data"], given),
    "constexpr_blockwise_shift_scale": lambda given: _shift_scale(given["data"], given),
    "constexpr_cast": lambda given: given["source_val"],
    "constexpr_lut_to_dense": _lut_to_dense,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_to_dense": _sparse_to_dense,
    "constexpr_sparse_blockwise_shift_scale": _sparse_shift_scale,
}
"""Name in MIL -> implementation."""
