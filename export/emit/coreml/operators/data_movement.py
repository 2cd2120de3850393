"""Operators that only move values (shapes, axes, slices, concatenation, padding) or create tensors.

Source: coremltools 9, `ops/defs/iOS15/tensor_transformation.py`, `tensor_operation.py`, `iOS17`, `iOS18`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from export.emit.coreml.operators.arguments import Arguments, Operator, axis_of, flag, integers, number, text


def _slices(given: Arguments) -> tuple[slice | int, ...]:
    """The index that `begin`, `end`, `stride` and their masks describe."""
    rank = given["x"].dim()
    begin, end = integers(given, "begin", []), integers(given, "end", [])
    stride = integers(given, "stride", [1] * rank)
    masks = [integers(given, f"{name}_mask", [0] * rank) for name in ("begin", "end", "squeeze")]
    index: list[slice | int] = []
    for axis, (from_start, to_end, squeeze) in enumerate(zip(*masks, strict=True)):
        first = None if from_start else begin[axis]
        if squeeze:
            index.append(first or 0)
        else:
            index.append(slice(first, None if to_end else end[axis], stride[axis]))
    return tuple(index)


def _slice_by_index(given: Arguments) -> Tensor:
    # NumPy, because torch has no negative strides.
    return torch.from_numpy(np.array(given["x"].numpy()[_slices(given)]))


def _slice_by_size(given: Arguments) -> Tensor:
    x, begin, size = given["x"], integers(given, "begin", []), integers(given, "size", [])
    starts = [first % length if first < 0 else first for first, length in zip(begin, x.shape, strict=True)]
    return x[
        tuple(
            slice(first, None if count == -1 else first + count)
            for first, count in zip(starts, size, strict=True)
        )
    ]


def _slice_update(given: Arguments) -> Tensor:
    updated = given["x"].numpy().copy()
    index = _slices(given)
    updated[index] = given["update"].numpy().reshape(updated[index].shape)
    return torch.from_numpy(updated)


def _reshape(given: Arguments) -> Tensor:
    x, shape = given["x"], integers(given, "shape", [])
    # A 0 stands for the length of x's axis that is as far from the end, or 1 where x has no such axis.
    for axis, length in enumerate(shape):
        if length == 0:
            behind = len(shape) - axis
            shape[axis] = x.shape[-behind] if behind <= x.dim() else 1
    return x.reshape(shape)


def _expand_dims(given: Arguments) -> Tensor:
    x, axes = given["x"], integers(given, "axes", [])
    for axis in sorted(axis % (x.dim() + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _squeeze(given: Arguments) -> Tensor:
    x = given["x"]
    return x.squeeze(integers(given, "axes", list(range(x.dim()))))


def _concat(given: Arguments) -> Tensor:
    values, axis = given["values"], axis_of(given)
    if not flag(given, "interleave"):
        return torch.cat([value.reshape(1) if value.dim() == 0 else value for value in values], axis)
    axis %= values[0].dim()
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


def _split(given: Arguments) -> tuple[Tensor, ...]:
    x, axis = given["x"], axis_of(given)
    sizes = integers(given, "split_sizes", [])
    return x.split(sizes or x.shape[axis] // int(given["num_splits"]), axis)


def _pad(given: Arguments) -> Tensor:
    x, mode = given["x"].numpy(), text(given, "mode", "constant")
    pad = np.array(integers(given, "pad", []), int).reshape(-1, 2)
    sides = [(0, 0)] * (x.ndim - len(pad)) + [(int(before), int(after)) for before, after in pad]
    if mode == "constant":
        padded = np.pad(x, sides, constant_values=number(given, "constant_val", 0.0))
    else:
        padded = np.pad(x, sides, mode="edge" if mode == "replicate" else "reflect")
    return torch.from_numpy(padded)


def _crop(given: Arguments) -> Tensor:
    (top, bottom), (left, right) = integers(given, "crop_height", []), integers(given, "crop_width", [])
    height, width = given["x"].shape[-2:]
    return given["x"][..., top : height - bottom, left : width - right]


def _flatten2d(given: Arguments) -> Tensor:
    x, axis = given["x"], axis_of(given, default=1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def _one_hot(given: Arguments) -> Tensor:
    size = int(given["one_hot_vector_size"])
    on, off = number(given, "on_value", 1), number(given, "off_value", 0)
    hot = given["indices"].unsqueeze(-1) == torch.arange(size)
    axis = axis_of(given)
    return torch.where(hot, on, off).movedim(-1, axis)


def _band_part(given: Arguments) -> Tensor:
    x, lower, upper = given["x"], number(given, "lower", -1), number(given, "upper", -1)
    below = torch.arange(x.shape[-2])[:, None] - torch.arange(x.shape[-1])
    inside = ((below <= lower) | (lower < 0)) & ((-below <= upper) | (upper < 0))
    return torch.where(inside, x, torch.zeros((), dtype=x.dtype))


def _reverse_sequence(given: Arguments) -> Tensor:
    sequence, batch = axis_of(given, "seq_axis", 0), axis_of(given, "batch_axis", 0)
    x = given["x"].movedim((batch, sequence), (0, 1)).clone()
    for row, length in enumerate(given["lengths"].tolist()):
        x[row, :length] = x[row, :length].flip(0)
    return x.movedim((0, 1), (batch, sequence))


def _sliding_windows(given: Arguments) -> Tensor:
    x = given["x"]
    axis = axis_of(given) % x.dim()
    return x.unfold(axis, int(given["size"]), int(number(given, "stride", 1))).movedim(-1, axis + 1)


def _space_to_depth(given: Arguments) -> Tensor:
    """Positions inside a block become the slow part of the channels, unlike in `pixel_unshuffle`."""
    x, block = given["x"], int(given["block_size"])
    n, c, h, w = x.shape
    x = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return x.reshape(n, c * block * block, h // block, w // block)


def _depth_to_space(given: Arguments) -> Tensor:
    x, block = given["x"], int(given["block_size"])
    n, c, h, w = x.shape
    x = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return x.reshape(n, c // block**2, h * block, w * block)


def _sorted(given: Arguments) -> tuple[Tensor, Tensor]:
    descending = not flag(given, "ascending")
    values, indices = torch.sort(given["x"], dim=axis_of(given), descending=descending, stable=True)
    return values, indices


def _topk(given: Arguments) -> tuple[Tensor, ...]:
    count, axis = int(number(given, "k", 1)), axis_of(given)
    values, indices = (part.narrow(axis, 0, count) for part in _sorted(given))
    return (values, indices) if flag(given, "return_indices", True) else (values,)


MOVES: dict[str, Operator] = {
    "reshape": _reshape,
    "expand_dims": _expand_dims,
    "squeeze": _squeeze,
    "transpose": lambda given: given["x"].permute(integers(given, "perm", [])),
    "flatten2d": _flatten2d,
    "shape": lambda given: torch.tensor(given["x"].shape),
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "slice_update": _slice_update,
    "reverse": lambda given: given["x"].flip(integers(given, "axes", list(range(given["x"].dim())))),
    "reverse_sequence": _reverse_sequence,
    "sliding_windows": _sliding_windows,
    "concat": _concat,
    "stack": lambda given: torch.stack(given["values"], axis_of(given)),
    "split": _split,
    "tile": lambda given: given["x"].repeat(integers(given, "reps", [])),
    "pad": _pad,
    "crop": _crop,
    "pixel_shuffle": lambda given: torch.pixel_shuffle(given["x"], int(given["upscale_factor"])),
    "pixel_unshuffle": lambda given: torch.pixel_unshuffle(given["x"], int(given["downscale_factor"])),
    "space_to_depth": _space_to_depth,
    "depth_to_space": _depth_to_space,
    "fill": lambda given: torch.full(integers(given, "shape", []), number(given, "value", 0.0)),
    "fill_like": lambda given: torch.full(given["ref_tensor"].shape, number(given, "value", 0.0)),
    "range_1d": lambda given: torch.arange(*(given[name].item() for name in ("start", "end", "step"))),
    "band_part": _band_part,
    "one_hot": _one_hot,
    "non_zero": lambda given: given["x"].nonzero(),
    "argsort": lambda given: _sorted(given)[1],
    "topk": _topk,
}
"""Name in MIL -> implementation."""
