"""Means, sums, extremes and softmax over axes of values of any rank."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import fx

from export.lower.block import Value, held, row_major, shape_of
from export.lower.lowering import Lowering
from export.lower.merging import RANK, around, merged, runs
from export.lower.reshaping import reshaped
from export.lower.source import bind, shape
from export.lower.volume import Form, Volume

aten = torch.ops.aten


def mean(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Mean over any axes; over time, space or channels in the available form."""
    x = args["self"]
    axes = _axes(x, args["dim"])
    if not isinstance(x, Volume):
        return reduce(lowering, node, args)
    n, c, t, h, w = x.shape
    if axes == [2, 3, 4]:
        result = mean_over_thw(lowering, x, node.name)
    elif axes == [3, 4]:
        y = lowering.writer.call(aten.mean.dim, (x["frames"], [2, 3], True), name=node.name)
        result = x.in_form("frames", y, (n, c, t, 1, 1))
    elif axes == [2]:
        geometry = ([t, 1], [t, 1], [0, 0], False, False)
        y = lowering.writer.call(aten.avg_pool2d.default, (x["plane"], *geometry), name=node.name)
        result = x.in_form("plane", y, (n, c, 1, h, w))
    elif axes == [1]:
        form = x.forms[0]
        y = lowering.writer.call(aten.mean.dim, (x[form], [1], True), name=node.name)
        result = x.in_form(form, y, (n, 1, t, h, w))
    else:
        return reduce(lowering, node, args)
    return reshaped(lowering, result, shape(node), name=f"{node.name}_shape")


def mean_over_thw(lowering: Lowering, x: Volume, name: str) -> Volume:
    """Mean over T, H and W with shape `N C 1 1 1`.

    One mean over the plane; if only frames exist, the mean of each frame, then the mean of those, which moves
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


def is_spatial_mean(node: fx.Node) -> bool:
    """Whether `node` averages all rows and columns of images `N C H W`."""
    args = bind(node, node.args, node.kwargs)
    if len(shape(node.all_input_nodes[0])) != 4:
        return False
    return args["dim"] is not None and sorted(axis % 4 for axis in args["dim"]) == [2, 3]


def spatial_mean(lowering: Lowering, node: fx.Node, x: fx.Node) -> fx.Node:
    """Mean over rows and columns of images in the form that every runtime takes: axes kept."""
    y = lowering.writer.call(aten.mean.dim, (x, [2, 3], True), name=node.name)
    return lowering.writer.reshape(y, shape(node), name=f"{node.name}_shape")


def amax(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Maximum over any axes; over time or space by pooling, which every runtime accelerates, int8 too."""
    x = args["self"]
    n, c, t, h, w = x.shape if isinstance(x, Volume) else (0,) * 5
    ways: dict[tuple[int, ...], tuple[Form, list[int], tuple[int, ...]]] = {
        (2, 3, 4): ("plane", [t, h * w], (n, c, 1, 1, 1)),
        (3, 4): ("frames", [h, w], (n, c, t, 1, 1)),
        (2,): ("plane", [t, 1], (n, c, 1, h, w)),
    }
    way = ways.get(tuple(_axes(x, args["dim"])))
    if not isinstance(x, Volume) or way is None:
        return reduce(lowering, node, args)
    form, kernel, pooled = way
    y = lowering.writer.call(aten.max_pool2d.default, (x[form], kernel, kernel), name=node.name)
    return reshaped(lowering, x.in_form(form, y, pooled), shape(node), name=f"{node.name}_shape")


def reduce(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Mean, sum, maximum or minimum over any axes: at once if the axes can be merged, else group by group."""
    x, writer = args["self"], lowering.writer
    sizes, axes = list(shape_of(x)), _axes(x, args["dim"])
    y = row_major(x)
    while True:
        marks = [axis in axes for axis in range(len(sizes))]
        groups = runs(marks)
        if len(groups) > RANK:
            last = [axis for axis, mark in enumerate(marks) if mark][-1]
            groups = [list(range(last)), [last], list(range(last + 1, len(sizes)))]
            over, axes = [1], [axis for axis in axes if axis != last]
        else:
            over, axes = [at for at, group in enumerate(groups) if marks[group[0]]], []
        y = writer.reshape(y, merged(sizes, groups), name=f"{node.name}_merged{len(axes)}")
        y = writer.call(node.target, (y, over, True), name=f"{node.name}_{len(axes)}" if axes else node.name)
        for at in over:
            for axis in groups[at]:
                sizes[axis] = 1
        if not axes:
            return held(writer, y, shape(node), name=f"{node.name}_shape")


def arg_extreme(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Argmax and argmin along one axis, or over all."""
    x, dim = args["self"], args["dim"]
    sizes = shape_of(x)
    along = (1, math.prod(sizes), 1) if dim is None else _three(sizes, dim % len(sizes))
    y = lowering.writer.reshape(row_major(x), along, name=f"{node.name}_merged")
    y = lowering.writer.call(node.target, (y, 1), name=node.name)
    return held(lowering.writer, y, shape(node), name=f"{node.name}_shape")


def topk(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> tuple[Value, Value]:
    """`topk` along one axis: one row per position of the other axes."""
    x, writer, name = args["self"], lowering.writer, node.name
    axis = args["dim"] % len(shape_of(x))
    before, size, behind = _three(shape_of(x), axis)
    sizes = (before, size, behind) if behind > 1 else (before, size)
    y = writer.reshape(row_major(x), sizes, name=f"{name}_merged")
    if behind > 1:
        y = writer.permute(y, (0, 2, 1), name=f"{name}_rows")
    both = writer.call(node.target, (y, args["k"], -1, args["largest"], args["sorted"]), name=name)
    results = []
    for at, wanted in enumerate(node.meta["val"]):
        part = writer.call(operator.getitem, (both, at), name=f"{name}_{at}")
        if behind > 1:
            part = writer.permute(part, (0, 2, 1), name=f"{name}_{at}_columns")
        results.append(held(writer, part, tuple(wanted.shape), name=f"{name}_{at}_shape"))
    return results[0], results[1]


def softmax(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Softmax and log-softmax along one axis."""
    x = args["self"]
    sizes = shape_of(x)
    axis = args["dim"] % len(sizes)
    along = around(sizes, axis)
    y = lowering.writer.reshape(row_major(x), along, name=f"{node.name}_merged")
    y = lowering.writer.call(node.target, (y, 1 if len(along) > 2 else -1), name=node.name)
    return held(lowering.writer, y, shape(node), name=f"{node.name}_shape")


def _axes(x: Value, dim: Any) -> list[int]:
    rank = len(shape_of(x))
    given = [dim] if isinstance(dim, int) else (dim or range(rank))
    return sorted(axis % rank for axis in given)


def _three(sizes: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    return math.prod(sizes[:axis]), sizes[axis], math.prod(sizes[axis + 1 :])
