"""Slices, entries, splits, concatenation and padding of values of any rank."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn

from export.lower.block import Value, held, row_major, shape_of
from export.lower.lowering import Lowering
from export.lower.merging import around
from export.lower.reshaping import reshaped
from export.lower.source import shape
from export.lower.volume import Form, Padded, Volume, shape_in

aten = torch.ops.aten

PLACE: tuple[tuple[Form | None, int], ...] = (
    ("plane", 0),
    (None, 1),
    ("plane", 2),
    ("frames", 2),
    ("frames", 3),
)
"""For each axis of `N C T H W` the form, None for either, and the axis of that form that holds only this axis."""

FORMS: tuple[Form, ...] = ("frames", "plane")

FEW_PIECES = 8
"""Maximum number of slices that are concatenated; beyond it entries are gathered, which is slower."""


def take(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Any:
    """Slices, single positions and splits along one axis."""
    x: Value = args["self"]
    axis = args["dim"] % len(shape_of(x))
    size = shape_of(x)[axis]
    if node.target in (aten.split.Tensor, aten.split_with_sizes.default):
        sizes = [part.shape[axis] for part in node.meta["val"]]
        ends = list(accumulate(sizes))
        return tuple(
            _slice(lowering, x, axis, range(end - length, end), name=f"{node.name}_{i}")
            for i, (end, length) in enumerate(zip(ends, sizes, strict=True))
        )
    if node.target is aten.select.int:
        index = args["index"] % size
        part = _slice(lowering, x, axis, range(index, index + 1), name=node.name)
        return reshaped(lowering, part, shape(node), name=f"{node.name}_shape")
    taken = range(size)[slice(args["start"], args["end"], args["step"])]
    return _slice(lowering, x, axis, taken, name=node.name)


def pick(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Entries along one axis by index: slices if the indices are constant and follow a pattern."""
    x: Value = args["self"]
    if isinstance(x, Tensor):
        x = _stored(lowering, x, name=f"{node.name}_table")
    axis, index = args["dim"] % len(shape_of(x)), args["index"]
    if not isinstance(index, Tensor):
        return _looked_up(lowering, node, x, axis, index)
    spans = _progressions(index.reshape(-1).tolist())
    if len(spans) == 1:
        return _slice(lowering, x, axis, spans[0], name=node.name)
    if len(spans) <= FEW_PIECES:
        parts = [_slice(lowering, x, axis, span, name=f"{node.name}_{i}") for i, span in enumerate(spans)]
        return _joined(lowering, node, parts, axis)
    return _looked_up(lowering, node, x, axis, index)


def _looked_up(lowering: Lowering, node: fx.Node, x: Value, axis: int, index: Tensor | fx.Node) -> Value:
    sizes = around(shape_of(x), axis)
    y = lowering.writer.reshape(row_major(x), sizes, name=f"{node.name}_merged")
    y = lowering.writer.call(aten.index_select.default, (y, 1, index), name=node.name)
    return held(lowering.writer, y, shape(node), name=f"{node.name}_shape")


def _progressions(numbers: list[int]) -> list[range]:
    """`numbers` cut into ascending ranges: one with equal steps, or several with step 1."""
    steps = {b - a for a, b in pairwise(numbers)}
    if len(steps) == 1 and (step := steps.pop()) > 0:
        return [range(numbers[0], numbers[-1] + 1, step)]
    spans = [range(numbers[0], numbers[0] + 1)]
    for number in numbers[1:]:
        if number == spans[-1].stop:
            spans[-1] = range(spans[-1].start, number + 1)
        else:
            spans.append(range(number, number + 1))
    return spans


def _slice(lowering: Lowering, x: Value, axis: int, taken: range, *, name: str) -> Value:
    sizes = shape_of(x)
    if taken == range(sizes[axis]):
        return x
    new_shape = tuple(len(taken) if a == axis else size for a, size in enumerate(sizes))
    writer, bounds = lowering.writer, (taken.start, taken.stop, taken.step)
    if isinstance(x, Volume):
        if axis == 2 and taken.step > 1 and sizes[2] % taken.step == 0:
            return _every(lowering, x, taken, new_shape, name=name)
        only, position = PLACE[axis]
        form = only or x.forms[0]
        return x.in_form(
            form, writer.call(aten.slice.Tensor, (x[form], position, *bounds), name=name), new_shape
        )
    if isinstance(x, fx.Node):
        return writer.call(aten.slice.Tensor, (x, axis, *bounds), name=name)
    y = writer.reshape(row_major(x), around(sizes, axis), name=f"{name}_merged")
    return held(
        writer, writer.call(aten.slice.Tensor, (y, 1, *bounds), name=name), new_shape, name=f"{name}_shape"
    )


def _every(lowering: Lowering, x: Volume, taken: range, new_shape: Sequence[int], *, name: str) -> Volume:
    """Every n-th frame as one of n columns of pixels: some runtimes slice only with step 1."""
    n, c, t, h, w = x.shape
    step, pixels = taken.step, h * w
    first = taken.start % step * pixels
    folded = lowering.writer.reshape(x["plane"], (n, c, t // step, step * pixels), name=f"{name}_folded")
    column = lowering.writer.call(aten.slice.Tensor, (folded, 3, first, first + pixels, 1), name=name)
    start = taken.start // step
    if len(taken) < t // step:
        bounds = (start, start + len(taken), 1)
        column = lowering.writer.call(aten.slice.Tensor, (column, 2, *bounds), name=f"{name}_frames")
    return x.in_form("plane", column, tuple(new_shape))


def concatenate(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Value:
    """Concatenation along any axis."""
    parts = [
        _stored(lowering, part, name=f"{node.name}_part{i}") if isinstance(part, Tensor) else part
        for i, part in enumerate(args["tensors"])
    ]
    return _joined(lowering, node, parts, args["dim"] % len(shape(node)))


def _joined(lowering: Lowering, node: fx.Node, parts: Sequence[Any], axis: int) -> Value:
    writer, name = lowering.writer, node.name
    if isinstance(parts[0], Volume):
        only, position = PLACE[axis]
        wanted = lowering.wanted(node)
        costs = {f: (sum(part.size for part in parts if f not in part.forms), f != wanted) for f in FORMS}
        form = min(FORMS, key=costs.__getitem__) if only is None else only
        y = writer.call(aten.cat.default, ([part[form] for part in parts], position), name=name)
        return parts[0].in_form(form, y, shape(node))
    if len(shape(node)) < 5:
        return writer.call(aten.cat.default, (list(parts), axis), name=name)
    flat = [
        writer.reshape(row_major(part), around(shape_of(part), axis), name=f"{name}_merged{i}")
        for i, part in enumerate(parts)
    ]
    return held(
        writer, writer.call(aten.cat.default, (flat, 1), name=name), shape(node), name=f"{name}_shape"
    )


def _stored(lowering: Lowering, value: Tensor, *, name: str) -> Value:
    """A constant of any rank as a value of the graph."""
    trainable = isinstance(value, nn.Parameter) and value.requires_grad
    store = lowering.writer.weight if trainable else lowering.writer.constant
    sizes = tuple(value.shape)
    flat = value.reshape(shape_in("plane", sizes) if len(sizes) == 5 else around(sizes, 1))
    return held(lowering.writer, store(flat, name=name), sizes, name=f"{name}_shape")


def constant_pad(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """Padding of T, H and W: zeros are left for a convolution to absorb, other padding is written."""
    amounts: Sequence[int] = [*args["pad"], *[0] * (10 - len(args["pad"]))]
    around_axes = tuple((amounts[2 * i], amounts[2 * i + 1]) for i in (2, 1, 0))
    return Padded(lowering.writer, args["self"], around_axes, args["value"] or 0.0, name=node.name)
