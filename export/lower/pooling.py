"""Pooling in 3D as pooling over frames followed by pooling over the plane (T, H*W)."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from export.lower.axis import pair, triple
from export.lower.lowering import Lowering
from export.lower.source import refuse, shape
from export.lower.volume import Volume

aten = torch.ops.aten


def pool(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """Max and average pooling, which are separable: in space, then in time."""
    kernel = triple(args["kernel_size"])
    stride = triple(args["stride"]) if args["stride"] else kernel
    padding = triple(args["padding"])
    x: Volume = args["self"]
    n, c, t, _, _ = x.shape
    _, _, frames, rows, columns = shape(node)
    if (kernel[1:], stride[1:]) != ((1, 1), (1, 1)):
        y = _pool2d(lowering, node, args, x["frames"], kernel[1:], stride[1:], padding[1:], "space")
        x = x.in_form("frames", y, (n, c, t, rows, columns))
    if (kernel[0], stride[0]) != (1, 1):
        y = _pool2d(lowering, node, args, x["plane"], (kernel[0], 1), (stride[0], 1), (padding[0], 0), "time")
        x = x.in_form("plane", y, (n, c, frames, rows, columns))
    return x


def _pool2d(
    lowering: Lowering,
    node: fx.Node,
    args: dict[str, Any],
    x: fx.Node,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    where: str,
) -> fx.Node:
    name = f"{node.name}_{where}"
    if "count_include_pad" in args:
        rest = (args["ceil_mode"], args["count_include_pad"])
        return _average(lowering, x, (kernel, stride, padding), *rest, name=name)
    time, *space = triple(args["dilation"])
    dilation = tuple(space) if where == "space" else (time, 1)
    return _maximum(lowering, x, (kernel, stride, padding, dilation), args["ceil_mode"], name=name)


def max_pool_without_indices(
    lowering: Lowering, node: fx.Node, args: dict[str, Any]
) -> tuple[fx.Node | Volume]:
    """Max pooling with indices, if these are not used."""
    if any(reader.args[1] == 1 for reader in node.users):
        why = "mobile runtimes do not return the indices of the maxima"
        raise refuse(
            node, why, "use MaxPool3d without return_indices, and interpolate instead of MaxUnpool3d"
        )
    if isinstance(args["self"], Volume):
        return (pool(lowering, node, args),)
    return (max_pool2d(lowering, node, args),)


def max_pool2d(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> fx.Node:
    """Max pooling of images `N C H W`."""
    kernel = pair(args["kernel_size"])
    stride = pair(args["stride"]) if args["stride"] else kernel
    geometry = (kernel, stride, pair(args["padding"]), pair(args["dilation"]))
    if len(shape(node)) != 4:
        return lowering.writer.call(
            aten.max_pool2d.default, (args["self"], *map(list, geometry), args["ceil_mode"]), name=node.name
        )
    return _maximum(lowering, args["self"], geometry, args["ceil_mode"], name=node.name)


def _maximum(
    lowering: Lowering,
    x: fx.Node,
    geometry: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    ceil_mode: bool,
    *,
    name: str,
) -> fx.Node:
    """Max pooling; rows and columns separately if a last window extends beyond the end along only one of them,
    which runtimes cannot express."""
    for part, ceil in _separated(x, geometry, ceil_mode):
        suffix = "" if part == geometry else "_rows" if part[0][1] == 1 else "_columns"
        words = (*map(list, part), ceil)
        x = lowering.writer.call(aten.max_pool2d.default, (x, *words), name=f"{name}{suffix}")
    return x


def _separated(
    x: fx.Node, geometry: tuple[tuple[int, ...], ...], ceil_mode: bool
) -> list[tuple[tuple[tuple[int, ...], ...], bool]]:
    """The geometries (kernel, stride, padding, dilation) whose sequence is equivalent, and whether their last
    windows extend beyond the end.

    torch omits a last window that would begin in the padding at the end: the result then has no extra window.
    """
    sizes, (kernel, stride, padding, dilation) = x.meta["val"].shape[2:], geometry
    hanging = [
        ceil_mode and _hangs_over(*axis)
        for axis in zip(sizes, kernel, stride, padding, dilation, strict=True)
    ]
    left_out = [
        ceil_mode and not hangs and (n + 2 * p - d * (k - 1) - 1) % s != 0
        for hangs, n, k, s, p, d in zip(hanging, sizes, kernel, stride, padding, dilation, strict=True)
    ]
    if not (any(hanging) and any(left_out)):
        return [(geometry, any(hanging))]
    rows = ((kernel[0], 1), (stride[0], 1), (padding[0], 0), (dilation[0], 1))
    columns = ((1, kernel[1]), (1, stride[1]), (0, padding[1]), (1, dilation[1]))
    return [(rows, hanging[0]), (columns, hanging[1])]


def _hangs_over(size: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """Whether `ceil_mode` adds a window."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    return room % stride != 0 and (room // stride + 1) * stride < size + padding


def avg_pool2d(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> fx.Node:
    """Average pooling of images `N C H W`."""
    x, kernel = args["self"], pair(args["kernel_size"])
    if len(shape(node)) != 4:
        return lowering.copy(node, list(args.values()))
    geometry = (kernel, pair(args["stride"]) if args["stride"] else kernel, pair(args["padding"]))
    return _average(lowering, x, geometry, args["ceil_mode"], args["count_include_pad"], name=node.name)


def _average(
    lowering: Lowering,
    x: fx.Node,
    geometry: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
    ceil_mode: bool,
    count_include_pad: bool,
    *,
    name: str,
) -> fx.Node:
    """Average pooling in a form that XNNPACK takes: a convolution with equal weights if padding counts."""
    parts = _separated(x, (*geometry, (1, 1)), ceil_mode)
    if len(parts) > 1:
        for (*part, _), ceil in parts:
            suffix = "_rows" if part[0][1] == 1 else "_columns"
            x = _average(
                lowering, x, (part[0], part[1], part[2]), ceil, count_include_pad, name=f"{name}{suffix}"
            )
        return x
    ceil_mode = parts[0][1]
    kernel, stride, padding = geometry
    channels = x.meta["val"].shape[1]
    if any(padding) and count_include_pad and not ceil_mode:
        weight = torch.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]))
        taps = lowering.writer.constant(weight, name=f"{name}_share")
        rest = (None, list(stride), list(padding), [1, 1], channels)
        return lowering.writer.call(aten.conv2d.default, (x, taps, *rest), name=name)
    counts = count_include_pad and (any(padding) or ceil_mode)
    words = (*map(list, geometry), ceil_mode, counts)
    return lowering.writer.call(aten.avg_pool2d.default, (x, *words), name=name)
