"""Interpolation: over rows and columns, then over time.

In other cases the weights come from torch's own operator, applied to the identity matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from export.lower.composites.mixing import mixed
from export.lower.source import bind

aten = torch.ops.aten


def _by_frame(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of images `N C H W`, applied to every frame of `N C T H W`."""
    n, c, t, h, w = x.shape
    y = function(x.transpose(1, 2).reshape(n * t, c, h, w))
    return y.reshape(n, t, c, *y.shape[2:]).transpose(1, 2)


def _by_time(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """`function` of an image whose rows are frames, `N C T H*W`."""
    n, c, t, h, w = x.shape
    y = function(x.reshape(n, c, t, h * w))
    return y.reshape(n, c, y.shape[2], h, w)


def _sizes(x: Tensor, size: Sequence[int] | None, factors: Sequence[float] | None) -> list[int]:
    """Lengths of the axes from the third on, from a size or from factors."""
    if size is not None:
        return list(size)
    assert factors is not None
    return [math.floor(length * factor) for length, factor in zip(x.shape[2:], factors, strict=True)]


def _is_plain(x: Tensor, sizes: Sequence[int], factors: Sequence[float] | None) -> bool:
    """Whether the sizes define the result: factors, if given, are their exact ratios."""
    return factors is None or all(
        new == old * factor for new, old, factor in zip(sizes, x.shape[2:], factors, strict=True)
    )


def nearest_resize_3d(x: Tensor, size: Sequence[int] | None, factors: Sequence[float] | None) -> Tensor:
    """Frames, rows and columns repeated (or skipped): images first, then frames as rows of an image."""
    t, h, w = _sizes(x, size, factors)
    if not _is_plain(x, (t, h, w), factors):
        return nearest_resize(x, size, factors)
    if (h, w) != x.shape[3:]:
        x = _by_frame(x, lambda frames: aten.upsample_nearest2d.vec(frames, [h, w], None))
    if t != x.shape[2]:
        x = _by_time(x, lambda plane: aten.upsample_nearest2d.vec(plane, [t, plane.shape[3]], None))
    return x


def nearest_resize(x: Tensor, size: Sequence[int] | None, factors: Sequence[float] | None) -> Tensor:
    """Entries selected along each axis."""
    return _picked(x, size, factors, aten.upsample_nearest1d.default)


def nearest_exact_resize(x: Tensor, size: Sequence[int] | None, factors: Sequence[float] | None) -> Tensor:
    """As `nearest_resize`, from the centre of each new position."""
    return _picked(x, size, factors, aten._upsample_nearest_exact1d.default)


def _picked(x: Tensor, size: Sequence[int] | None, factors: Sequence[float] | None, along: Any) -> Tensor:
    for axis, new in enumerate(_sizes(x, size, factors), 2):
        numbers = torch.arange(x.shape[axis], dtype=torch.float32).reshape(1, 1, -1)
        index = along(numbers, [new], None if factors is None else factors[axis - 2])
        x = aten.index_select(x, axis, index.flatten().to(torch.int64))
    return x


def linear_resize(
    x: Tensor, size: Sequence[int] | None, align_corners: bool, factors: Sequence[float] | None
) -> Tensor:
    """Linear interpolation along every axis: as 2D interpolations if the sizes are exact multiples."""
    sizes = _sizes(x, size, factors)
    if x.dim() != 5 or not _is_plain(x, sizes, factors):
        return mixed_resize(x, size, align_corners, factors)
    t, h, w = sizes
    if (h, w) != x.shape[3:]:
        x = _by_frame(x, lambda frames: aten.upsample_bilinear2d.vec(frames, [h, w], align_corners, None))
    if t != x.shape[2]:
        x = _by_time(x, lambda plane: _between_frames(plane, t, align_corners))
    return x


def _between_frames(plane: Tensor, frames: int, align_corners: bool) -> Tensor:
    return aten.upsample_bilinear2d.vec(plane, [frames, plane.shape[3]], align_corners, None)


def mixed_resize(
    x: Tensor, size: Sequence[int] | None, align_corners: bool, factors: Sequence[float] | None
) -> Tensor:
    """Linear interpolation as one product with fixed weights per axis."""
    for axis, new in enumerate(_sizes(x, size, factors), 2):
        if new != x.shape[axis] or factors is not None:
            factor = None if factors is None else factors[axis - 2]
            columns = aten.upsample_linear1d.default(
                torch.eye(x.shape[axis])[None], [new], align_corners, factor
            )
            x = mixed(x, axis, columns[0].T)
    return x


RESIZES: dict[Any, Callable[..., Tensor]] = {
    aten.upsample_nearest2d.vec: nearest_resize,
    aten.upsample_bilinear2d.vec: mixed_resize,
}
"""Replacements for interpolations of images whose sizes do not determine the pixels that are read."""


def by_inexact_factors(graph: fx.Graph) -> bool:
    """Replaces an interpolation by factors that are not the ratios of its sizes with one for any factors.

    Runtimes get sizes and compute with their ratios. Returns whether there was one; `graph` must be traced
    afterwards.
    """
    found = False
    for node in graph.nodes:
        if node.target not in RESIZES:
            continue
        sizes, factors = node.meta["val"].shape[2:], bind(node, node.args, node.kwargs)["scale_factors"]
        if not _is_plain(node.args[0].meta["val"], sizes, factors):
            node.target = RESIZES[node.target]
            found = True
    return found
