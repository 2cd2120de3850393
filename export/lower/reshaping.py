"""Views, permutations and expansions of values of any rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from export.lower.block import Value, held, row_major, shape_of
from export.lower.lowering import Lowering
from export.lower.merging import RANK, exchanges, merged, runs
from export.lower.source import shape
from export.lower.volume import Form, Volume, shape_in

aten = torch.ops.aten

ORDER: dict[Form, tuple[int, ...]] = {"plane": (0, 1, 2, 3, 4), "frames": (0, 2, 1, 3, 4)}
"""The axes N C T H W in the order of each form."""


def identity(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Any:
    """Operators that return their input."""
    return args["self"] if "self" in args else args["input"]


def reshape(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Augmentation, flatten, squeeze, unsqueeze: to or from any rank."""
    return reshaped(lowering, args["self"], shape(node), name="reshape")


def reshaped(lowering: Lowering, x: Value, target: Sequence[int], *, name: str) -> Value:
    """`x` with shape `target`, its numbers in the same order."""
    if shape_of(x) == tuple(target):
        return x
    return held(lowering.writer, row_major(x), target, name=name)


def permute(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Permutations of any rank, by as few of rank 4 as possible."""
    x: Value = args["self"]
    rank = len(shape_of(x))
    if "dims" in args:
        order = [axis % rank for axis in args["dims"]]
    else:
        order = list(range(rank))
        a, b = args["dim0"] % rank, args["dim1"] % rank
        order[a], order[b] = order[b], order[a]
    if not isinstance(x, Volume):
        y = _permuted(lowering, row_major(x), shape_of(x), order, name=node.name)
        return held(lowering.writer, y, shape(node), name=f"{node.name}_shape")
    if order == [0, 2, 1, 3, 4]:
        # Frames become the plane of the swapped axes, and the plane becomes frames.
        form = x.forms[0]
        other: Form = "frames" if form == "plane" else "plane"
        y = lowering.writer.reshape(x[form], shape_in(other, shape(node)), name=node.name)
        return x.in_form(other, y, shape(node))
    stored = {form: [ORDER[form].index(axis) for axis in order] for form in x.forms}
    shapes = {form: [x.shape[axis] for axis in ORDER[form]] for form in x.forms}
    form = min(x.forms, key=lambda form: len(exchanges(shapes[form], stored[form])))
    y = _permuted(lowering, x[form], shapes[form], stored[form], name=node.name)
    return held(lowering.writer, y, shape(node), name=f"{node.name}_plane")


def _permuted(
    lowering: Lowering, node: fx.Node, stored: Sequence[int], order: Sequence[int], *, name: str
) -> fx.Node:
    """Numbers with the row-major shape `stored`, permuted to the axes `order`."""
    for step, (sizes, turn) in enumerate(exchanges(stored, order)):
        suffix = f"_step{step}" if step else ""
        node = lowering.writer.reshape(node, sizes, name=f"{name}_merged{suffix}")
        node = lowering.writer.permute(node, turn, name=f"{name}{suffix}")
    return node


def expand(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Axes of length 1 repeated, new axes in front."""
    return expanded(lowering, args["self"], shape(node), name=node.name)


def expanded(lowering: Lowering, x: Value, target: Sequence[int], *, name: str) -> Value:
    """`x` broadcast to `target`: in one operator if the axes can be merged, else one group of axes at a time."""
    writer, target = lowering.writer, tuple(target)
    now = (1,) * (len(target) - len(shape_of(x))) + shape_of(x)
    if now == target:
        return reshaped(lowering, x, target, name=f"{name}_shape")
    node = row_major(x)
    marks = [size != wanted for size, wanted in zip(now, target, strict=True)]
    groups = runs(marks)
    if len(groups) > RANK:
        last = [axis for axis, mark in enumerate(marks) if mark][-1]
        groups = [list(range(last)), [last], list(range(last + 1, len(target)))]
        between = tuple(target[last] if axis == last else size for axis, size in enumerate(now))
    else:
        between = target
    node = writer.reshape(node, merged(now, groups), name=f"{name}_merged")
    node = writer.call(aten.expand.default, (node, list(merged(between, groups))), name=name)
    return expanded(lowering, held(writer, node, between, name=f"{name}_shape"), target, name=f"{name}_again")


def rows_of(lowering: Lowering, x: Value, axes: int, *, name: str) -> fx.Node:
    """`x` as a matrix: its last `axes` axes merged, all the others as rows."""
    sizes = shape_of(x)
    inner = math.prod(sizes[len(sizes) - axes :])
    return lowering.writer.reshape(row_major(x), (math.prod(sizes) // inner, inner), name=name)
