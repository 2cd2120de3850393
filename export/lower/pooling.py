"""Pooling in 3D as pooling over frames followed by pooling over the plane (T, H*W)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from export.lower.axis import pair, triple
from export.lower.source import refuse, shape
from export.lower.volume import Volume

if TYPE_CHECKING:
    from export.lower.program import Lowering

aten = torch.ops.aten


def pool(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """Max and average pooling, which are exact one axis after the other: in space, then in time."""
    if args.get("divisor_override") is not None:
        raise refuse(
            node, "it divides by a number of its own", "leave divisor_override out and scale the result"
        )
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
    dilation = space if where == "space" else [time, 1]
    geometry = [list(kernel), list(stride), list(padding), dilation, args["ceil_mode"]]
    return lowering.writer.call(aten.max_pool2d.default, (x, *geometry), name=name)


def maxima_alone(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> tuple[fx.Node | Volume]:
    """Max pooling that was asked for the places of the maxima as well, when nobody reads these."""
    if any(reader.args[1] == 1 for reader in node.users):
        why = "there is no exact form of the places at rank 4"
        raise refuse(
            node, why, "use MaxPool3d without return_indices, and interpolate in the place of MaxUnpool3d"
        )
    if isinstance(args["self"], Volume):
        return (pool(lowering, node, args),)
    geometry = [args[name] for name in ("kernel_size", "stride", "padding", "dilation", "ceil_mode")]
    return (lowering.writer.call(aten.max_pool2d.default, (args["self"], *geometry), name=node.name),)


def average_pictures(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> fx.Node:
    """Average pooling of pictures `N C H W`."""
    x, kernel = args["self"], pair(args["kernel_size"])
    if args["divisor_override"] is not None or len(shape(node)) != 4:
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
    """Average pooling in the words that XNNPACK takes: a convolution with equal weights where padding counts."""
    kernel, stride, padding = geometry
    channels, *sizes = x.meta["val"].shape[1:]
    rests = [(n + 2 * p - k) % s for n, k, s, p in zip(sizes, kernel, stride, padding, strict=True)]
    ceil_mode = ceil_mode and any(rests)
    if any(padding) and count_include_pad and not ceil_mode:
        weight = torch.full((channels, 1, *kernel), 1 / (kernel[0] * kernel[1]))
        taps = lowering.writer.constant(weight, name=f"{name}_share")
        rest = (None, list(stride), list(padding), [1, 1], channels)
        return lowering.writer.call(aten.conv2d.default, (x, taps, *rest), name=name)
    counts = count_include_pad and (any(padding) or ceil_mode)
    words = (*map(list, geometry), ceil_mode, counts)
    return lowering.writer.call(aten.avg_pool2d.default, (x, *words), name=name)
