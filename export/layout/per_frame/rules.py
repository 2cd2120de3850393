"""Rules that write each operator of a lowered graph frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from export.layout.per_frame.frames import Frame, Frames, Joined, written
from export.layout.per_frame.mixing import spatial, temporal
from export.layout.per_frame.rewrite import BINARY, Rewriter
from export.lower.source import bind, shape

aten = torch.ops.aten

Rule = Callable[[Rewriter, fx.Node], Frames | Joined | fx.Node | None]
"""Writes one operator; None leaves it to be copied as a whole."""


def convolution(rewriter: Rewriter, node: fx.Node) -> Frames | Joined | None:
    """Over frames: the same convolution of each. Over the plane (T, H*W): sums over the frames of each tap."""
    args = bind(node, node.args, node.kwargs)
    x = rewriter.frames(args["input"]) if rewriter.parts(args["input"]) is None else None
    if args["weight"].op != "get_attr" or (x is None and rewriter.parts(args["input"]) is None):
        return None
    weight = rewriter.tensor(args["weight"])
    bias = None if args["bias"] is None else rewriter.tensor(args["bias"])
    if _form(node) == "frames":
        return spatial(rewriter, node, args, weight, bias)
    if weight.shape[3] != 1 or args["stride"][1] != 1 or args["padding"][1] != 0:
        return None
    return temporal(rewriter, node, args, weight, bias)


def unary(rewriter: Rewriter, node: fx.Node) -> Frames | None:
    """The same operator on each frame; zeros stay zeros if the function maps 0 to 0."""
    x = rewriter.frames(node.args[0])  # type: ignore[arg-type]
    if x is None:
        return None
    zero: Any = node.target
    keeps_zero = float(zero(torch.zeros(1), *node.args[1:], **node.kwargs)) == 0

    def change(frame: Frame) -> Frame:
        if frame is None and keeps_zero:
            return None
        tensor = written(rewriter.writer, frame, x.frame_shape, name=node.name)
        return rewriter.style.activated(rewriter, node, tensor)

    return x.each(change)


def binary(rewriter: Rewriter, node: fx.Node) -> Frames | None:
    """Frame by frame; an operand without a time axis is used for every frame."""
    if not any(rewriter.is_per_frame(arg) for arg in node.args[:2]):
        return None
    _, of = node.meta["held"]
    operands = [_operand(rewriter, arg, of[2]) for arg in node.args[:2]]
    if any(operand is None for operand in operands):
        return None
    left, right = operands
    assert left is not None and right is not None
    nodes: list[Frame] = []
    known: dict[Any, Frame] = {}
    for index in range(of[2]):
        pair = (left[index % len(left)], right[index % len(right)])
        if pair not in known:
            known[pair] = _pair(rewriter, node, pair, frame_shape=(1, of[1], *of[3:]))
        nodes.append(known[pair])
    return Frames(shape=of, nodes=tuple(nodes))


_ZEROS = object()
"""An operand that is a frame of zeros."""


def _operand(rewriter: Rewriter, arg: Any, frames: int) -> list[Any] | None:
    """The operand of each frame from `arg`, None if there is no such form."""
    if not isinstance(arg, fx.Node):
        return [arg]
    if arg.op == "get_attr" and shape(arg)[2:] in ((1, 1), ()):
        return [rewriter.whole(arg)]
    value = rewriter.frames(arg)
    if value is None or len(value.nodes) not in (1, frames):
        return None
    return [_ZEROS if frame is None else frame for frame in value.nodes]


def _pair(rewriter: Rewriter, node: fx.Node, pair: tuple[Any, Any], *, frame_shape: tuple[int, ...]) -> Frame:
    """One frame of a sum, product, ..., without operations on zeros."""
    a, b = pair
    if node.target is aten.mul.Tensor and _ZEROS in (a, b):
        return None
    if node.target in (aten.add.Tensor, aten.sub.Tensor) and not node.kwargs:
        if a is _ZEROS and b is _ZEROS:
            return None
        if b is _ZEROS and shape(a) == frame_shape:
            return a
        if (
            a is _ZEROS
            and node.target is aten.add.Tensor
            and isinstance(b, fx.Node)
            and shape(b) == frame_shape
        ):
            return b
    zeros = rewriter.piece(torch.zeros(1, 1, 1, 1), "zeros", name="zeros") if _ZEROS in pair else None
    values = tuple(
        zeros if value is _ZEROS else rewriter.style.spread(rewriter, value, frame_shape) for value in pair
    )
    result = rewriter.writer.call(node.target, values, name=node.name, kwargs=node.kwargs)
    return (
        result
        if shape(result) == frame_shape
        else rewriter.writer.call(aten.expand.default, (result, list(frame_shape)), name=f"{node.name}_wide")
    )


def pool(rewriter: Rewriter, node: fx.Node) -> Frames | None:
    """Over frames: each frame. Over the plane: the mean or maximum of the frames of a window."""
    args = bind(node, node.args, node.kwargs)
    x = rewriter.frames(args["self"])
    if x is None:
        return None
    form, of = node.meta["held"]
    if form == "frames":

        def change(frame: Frame) -> Frame:
            tensor = written(rewriter.writer, frame, x.frame_shape, name=node.name)
            return rewriter.writer.call(
                node.target, (tensor, *node.args[1:]), name=node.name, kwargs=node.kwargs
            )

        return x.each(change, of)
    (kernel, columns), stride = args["kernel_size"], args["stride"] or args["kernel_size"]
    padding = args["padding"] if isinstance(args["padding"], list) else [args["padding"]] * 2
    if columns != 1 or args["ceil_mode"]:
        return None
    if node.target is aten.avg_pool2d.default:
        if padding[0] and not args["count_include_pad"]:
            return None
        channels = x.shape[1]
        geometry = {"stride": stride, "padding": padding, "dilation": [1, 1], "groups": channels}
        weight = torch.full((channels, 1, kernel, 1), 1 / kernel)
        result = temporal(rewriter, node, {**geometry, "input": args["self"]}, weight, None)
        assert isinstance(result, Frames)
        return result
    nodes = []
    for out in range(of[2]):
        seen = [out * stride[0] - padding[0] + tap * args["dilation"][0] for tap in range(kernel)]
        inside = [
            written(rewriter.writer, x.nodes[i], x.frame_shape, name=node.name)
            for i in seen
            if 0 <= i < x.shape[2]
        ]
        largest = inside[0]
        for other in inside[1:]:
            largest = rewriter.writer.call(aten.maximum.default, (largest, other), name=f"{node.name}_{out}")
        nodes.append(largest)
    return Frames(shape=of, nodes=tuple(nodes))


def mean(rewriter: Rewriter, node: fx.Node) -> Frames | None:
    """Mean over rows and columns of each frame, as pooling; over the plane the mean of those."""
    args = bind(node, node.args, node.kwargs)
    if (
        not rewriter.is_per_frame(args["self"])
        or sorted(axis % 4 for axis in args["dim"]) != [2, 3]
        or not args["keepdim"]
    ):
        return None
    x = rewriter.frames(args["self"])
    assert x is not None
    form, of = node.meta["held"]
    _, c, t, _, _ = x.shape
    if x.shape[3:] != (1, 1):
        x = x.each(
            lambda frame: (
                None
                if frame is None
                else rewriter.writer.call(
                    aten.avg_pool2d.default, (frame, list(x.shape[3:])), name=f"{node.name}_frame"
                )
            ),
            (1, c, t, 1, 1),
        )
    if form == "frames" or t == 1:
        return x
    means = [written(rewriter.writer, frame, x.frame_shape, name=node.name) for frame in x.nodes]
    row = rewriter.writer.call(aten.cat.default, (means, 2), name=f"{node.name}_frames")
    return Frames(shape=of, nodes=(rewriter.writer.call(aten.mean.dim, (row, [2, 3], True), name=node.name),))


def concatenate(rewriter: Rewriter, node: fx.Node) -> Frames | Joined | None:
    """Concatenates channels, joined only where a consumer needs one tensor; in the plane concatenates frames."""
    args = bind(node, node.args, node.kwargs)
    form, of = node.meta["held"]
    if not all(isinstance(part, fx.Node) for part in args["tensors"]):
        return None
    parts = [rewriter.frames(part) for part in args["tensors"]]
    if any(part is None for part in parts):
        return None
    known = tuple(part for part in parts if part is not None)
    axis = args["dim"] % 4
    if axis == 1:
        return Joined(parts=known)
    if (form, axis) in (("plane", 2), ("frames", 0)):
        return Frames(shape=of, nodes=tuple(frame for part in known for frame in part.nodes))
    return None


def take(rewriter: Rewriter, node: fx.Node) -> Frames | None:
    """A range of frames, channels, rows or columns."""
    args = bind(node, node.args, node.kwargs)
    form, of = node.meta["held"]
    x = rewriter.frames(args["self"])
    if x is None:
        return None
    axis, span = args["dim"] % 4, slice(args["start"], args["end"], args["step"])
    if (form, axis) in (("plane", 2), ("frames", 0)):
        return Frames(shape=of, nodes=x.nodes[span])
    if form == "plane" and axis == 3:
        return None
    return x.each(
        lambda frame: (
            None
            if frame is None
            else rewriter.writer.call(
                node.target, (frame, *node.args[1:]), name=node.name, kwargs=node.kwargs
            )
        ),
        of,
    )


def _form(node: fx.Node) -> str:
    return node.meta["held"][0]


RULES: dict[Any, Rule] = {
    aten.conv2d.default: convolution,
    aten.avg_pool2d.default: pool,
    aten.max_pool2d.default: pool,
    aten.mean.dim: mean,
    aten.cat.default: concatenate,
    aten.slice.Tensor: take,
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(
        (
            aten.relu.default,
            aten.relu6.default,
            aten.hardtanh.default,
            aten.clamp.default,
            aten.clamp_min.default,
            aten.hardswish.default,
            aten.hardsigmoid.default,
            aten.silu.default,
            aten.sigmoid.default,
            aten.tanh.default,
            aten.gelu.default,
            aten.elu.default,
            aten.leaky_relu.default,
            aten.exp.default,
            aten.neg.default,
            aten.abs.default,
            aten.sqrt.default,
            aten.rsqrt.default,
            aten.pow.Tensor_Scalar,
        ),
        unary,
    ),
}
"""Operators that are written frame by frame; others are copied on whole tensors."""
