"""Resizing of the last two axes.

Source: coremltools 9, `ops/defs/iOS15/image_resizing.py` and `iOS17` (the grids of every sampling mode).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from export.emit.coreml.operators.arguments import Arguments, Operator, flag, integers, number, text


def _grid(size: int, target: int, mode: str) -> Tensor:
    """Sampling positions of the `target` results along an axis of `size` elements."""
    steps = torch.arange(target, dtype=torch.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if target == 1:
            start = (size - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0
            return torch.tensor([start], dtype=torch.float64)
        points = steps * (size - 1) / (target - 1)
    elif mode == "DEFAULT":
        points = steps * size / target
    elif mode == "OFFSET_CORNERS":
        points = (steps + 0.5) * max(1, size - 1) / target
    else:
        points = (steps + 0.5) * size / target - 0.5
    return points.clamp(0, size - 1)


def _linear(x: Tensor, axis: int, points: Tensor) -> Tensor:
    low = points.floor().long()
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    part = (points - low).to(x.dtype).reshape([-1] + [1] * (-1 - axis))
    return x.index_select(axis, low) * (1 - part) + x.index_select(axis, high) * part


def _bilinear(x: Tensor, height: int, width: int, mode: str) -> Tensor:
    x = _linear(x, -2, _grid(x.shape[-2], height, mode))
    return _linear(x, -1, _grid(x.shape[-1], width, mode))


def _nearest(x: Tensor, height: int, width: int) -> Tensor:
    """Result `i` is the element `floor(i * size / target)`."""
    for axis, target in ((-2, height), (-1, width)):
        x = x.index_select(axis, torch.arange(target) * x.shape[axis] // target)
    return x


def _scaled_size(given: Arguments) -> tuple[int, int]:
    height, width = given["x"].shape[-2:]
    return (
        int(height * number(given, "scale_factor_height", 1)),
        int(width * number(given, "scale_factor_width", 1)),
    )


def _target_size(given: Arguments) -> tuple[int, int]:
    return int(number(given, "target_size_height", 1)), int(number(given, "target_size_width", 1))


def _upsample_bilinear(given: Arguments) -> Tensor:
    corners = "STRICT_ALIGN_CORNERS" if flag(given, "align_corners", True) else "UNALIGN_CORNERS"
    return _bilinear(given["x"], *_scaled_size(given), corners)


def _resize(given: Arguments) -> Tensor:
    x, count = given["x"], int(given["resized_dims"])
    wanted = integers(given, "shape", [])[-count:]
    height, width = [
        target or length for target, length in zip([0, 0, *wanted][-2:], x.shape[-2:], strict=True)
    ]
    if count > 2:
        raise NotImplementedError(f"resize of {count} axes; the reference resizes the last two")
    if text(given, "interpolation_mode", "LINEAR") == "NEAREST_NEIGHBOR":
        return _nearest(x, height, width)
    return _bilinear(x, height, width, text(given, "sampling_mode", "DEFAULT"))


_PADDING = {"constant": "zeros", "border": "border", "reflection": "reflection", "symmetric": "reflection"}
"""Padding mode of MIL -> that of `grid_sample`, which reflects about edges if corners are not aligned."""


def _resample(given: Arguments) -> Tensor:
    padding, corners = text(given, "padding_mode", "constant"), flag(given, "align_corners", True)
    aligned = {"reflection": True, "symmetric": False}.get(padding, corners)
    if text(given, "coordinates_mode", "") != "normalized_minus_one_to_one" or aligned != corners:
        raise NotImplementedError(
            "resample with coordinates outside -1..1, or reflection about other positions"
        )
    if padding == "constant" and number(given, "padding_value", 0.0):
        raise NotImplementedError("resample with nonzero padding")
    mode = text(given, "sampling_mode", "bilinear")
    return F.grid_sample(given["x"], given["coordinates"], mode, _PADDING[padding], corners)


RESIZING: dict[str, Operator] = {
    "upsample_nearest_neighbor": lambda given: _nearest(given["x"], *_scaled_size(given)),
    "upsample_bilinear": _upsample_bilinear,
    "resize_nearest_neighbor": lambda given: _nearest(given["x"], *_target_size(given)),
    "resize_bilinear": lambda given: _bilinear(
        given["x"], *_target_size(given), text(given, "sampling_mode", "DEFAULT")
    ),
    "resize": _resize,
    "resample": _resample,
}
"""Name in MIL -> implementation."""
