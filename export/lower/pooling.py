"""Pooling in 3D as pooling over frames followed by pooling over the plane (T, H*W), and means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from export.lower.axis import triple
from export.lower.reshaping import reshaped
from export.lower.source import bind, refuse, shape
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
    geometry = [list(kernel), list(stride), list(padding)]
    name = f"{node.name}_{where}"
    if node.target is not aten.max_pool3d.default:
        rest = (args["ceil_mode"], args["count_include_pad"])
        return lowering.writer.call(aten.avg_pool2d.default, (x, *geometry, *rest), name=name)
    time, *space = triple(args["dilation"])
    dilation = space if where == "space" else [time, 1]
    return lowering.writer.call(
        aten.max_pool2d.default, (x, *geometry, dilation, args["ceil_mode"]), name=name
    )


def mean(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Any:
    """Mean over time and space, space alone, time alone, or channels."""
    x: Volume = args["self"]
    axes = sorted(axis % 5 for axis in (args["dim"] or range(5)))
    n, c, t, h, w = x.shape
    if axes == [2, 3, 4]:
        result = mean_of_everything(lowering, x, node.name)
    elif axes == [3, 4]:
        y = lowering.writer.call(aten.mean.dim, (x["frames"], [2, 3], True), name=node.name)
        result = x.in_form("frames", y, (n, c, t, 1, 1))
    elif axes == [2]:
        y = lowering.writer.call(aten.avg_pool2d.default, (x["plane"], [t, 1]), name=node.name)
        result = x.in_form("plane", y, (n, c, 1, h, w))
    elif axes == [1]:
        form = x.forms[0]
        y = lowering.writer.call(aten.mean.dim, (x[form], [1], True), name=node.name)
        result = x.in_form(form, y, (n, 1, t, h, w))
    else:
        raise refuse(node, f"it averages over axes {axes}", "average over (2, 3, 4), (3, 4), 2 or 1")
    return reshaped(lowering, result, shape(node), name=f"{node.name}_shape")


def mean_of_everything(lowering: Lowering, x: Volume, name: str) -> Volume:
    """Mean over T, H and W with shape `N C 1 1 1`.

    One mean over the plane; where only frames exist the mean of each frame, then the mean of those, which moves
    T * C numbers between the forms instead of the whole value.
    """
    n, c, t, _, _ = x.shape
    if "plane" not in x.forms:
        y = lowering.writer.call(aten.mean.dim, (x["frames"], [2, 3], True), name=f"{name}_of_frames")
        x = x.in_form("frames", y, (n, c, t, 1, 1))
        if t == 1:
            return x
    y = lowering.writer.call(aten.mean.dim, (x["plane"], [2, 3], True), name=name)
    return x.in_form("plane", y, (n, c, 1, 1, 1))


def is_picture_mean(node: fx.Node) -> bool:
    """Whether `node` averages all rows and columns of pictures `N C H W`."""
    args = bind(node, node.args, node.kwargs)
    if len(shape(node.all_input_nodes[0])) != 4:
        return False
    if node.target is aten.adaptive_avg_pool2d.default:
        return shape(node)[2:] == (1, 1)
    return args["dim"] is not None and sorted(axis % 4 for axis in args["dim"]) == [2, 3]


def picture_mean(lowering: Lowering, node: fx.Node, x: fx.Node) -> fx.Node:
    """Mean over rows and columns of pictures in the one way in which every runtime takes it: axes kept."""
    y = lowering.writer.call(aten.mean.dim, (x, [2, 3], True), name=node.name)
    return lowering.writer.reshape(y, shape(node), name=f"{node.name}_shape")


def adaptive_pool(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """AdaptiveAvgPool3d to sizes that divide the input's."""
    x: Volume = args["self"]
    sizes, wanted = x.shape[2:], shape(node)[2:]
    if wanted == (1, 1, 1):
        return mean_of_everything(lowering, x, node.name)
    if any(size % out for size, out in zip(sizes, wanted, strict=True)):
        raise refuse(
            node,
            f"its windows differ in size, from T x H x W = {sizes} to {wanted}",
            "pool to sizes that divide the input's, or to 1",
        )
    kernel = [size // out for size, out in zip(sizes, wanted, strict=True)]
    even = {"self": x, "kernel_size": kernel, "stride": kernel, "padding": 0, "ceil_mode": False}
    return pool(lowering, node, {**even, "count_include_pad": True})
