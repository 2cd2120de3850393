"""Views, permutations, slices, concatenation and padding of values of rank 5."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from export.lower.source import parameters, refuse, shape
from export.lower.volume import Form, Padded, Volume, shape_in

if TYPE_CHECKING:
    from export.lower.program import Lowering

aten = torch.ops.aten

ORDER: dict[Form, tuple[int, ...]] = {"plane": (0, 1, 2, 3, 4), "frames": (0, 2, 1, 3, 4)}
"""The axes N C T H W in the order in which each form stores them."""

PLACE: tuple[tuple[Form | None, int], ...] = (
    ("plane", 0),
    (None, 1),
    ("plane", 2),
    ("frames", 2),
    ("frames", 3),
)
"""For each axis of `N C T H W` the form, None for either, and the axis in it that is this axis alone."""


def identity(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Any:
    """Operators that give back their input."""
    return args["self"] if "self" in args else args["input"]


def reshape(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume | fx.Node:
    """View, flatten, squeeze, unsqueeze: to or from rank 5."""
    return reshaped(lowering, args["self"], shape(node), name="reshape")


def reshaped(
    lowering: Lowering, x: Volume | fx.Node, target: tuple[int, ...], *, name: str
) -> Volume | fx.Node:
    """`x` with shape `target`; the plane holds its elements in the order of `N C T H W`, so it gives any shape."""
    if isinstance(x, Volume) and x.shape == target:
        return x
    source = x["plane"] if isinstance(x, Volume) else x
    if len(target) < 5:
        return lowering.writer.reshape(source, target, name=name)
    n, c, t, h, w = target
    plane = lowering.writer.reshape(source, (n, c, t, h * w), name=name)
    return Volume(lowering.writer, (n, c, t, h, w), "plane", plane)


def permute(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """Permutations of rank 5 in which at least two neighbours stay neighbours."""
    x: Volume = args["self"]
    if "dims" in args:
        order = [axis % 5 for axis in args["dims"]]
    else:
        order = list(range(5))
        a, b = args["dim0"] % 5, args["dim1"] % 5
        order[a], order[b] = order[b], order[a]
    new_shape = shape(node)
    if order == [0, 2, 1, 3, 4]:
        # What was in frames is the plane of the exchanged axes, and the other way round.
        form = x.forms[0]
        other: Form = "frames" if form == "plane" else "plane"
        y = lowering.writer.reshape(x[form], shape_in(other, new_shape), name=node.name)
        return x.in_form(other, y, new_shape)
    form, groups, order_of_groups = min((_grouped(form, order) for form in x.forms), key=lambda g: len(g[1]))
    if len(groups) > 4:
        raise refuse(node, "it tears all five axes apart", "permute in two steps, or flatten H and W first")
    merged = [torch.Size([x.shape[axis] for axis in group]).numel() for group in groups]
    y = lowering.writer.reshape(x[form], merged, name=f"{node.name}_merged")
    y = lowering.writer.permute(y, order_of_groups, name=node.name)
    return x.in_form(
        "plane",
        lowering.writer.reshape(y, shape_in("plane", new_shape), name=f"{node.name}_plane"),
        new_shape,
    )


def _grouped(form: Form, order: list[int]) -> tuple[Form, list[list[int]], list[int]]:
    """Stored axes grouped where the permutation keeps them together, and the permutation of the groups."""
    stored = ORDER[form]
    groups: list[list[int]] = []
    for axis in stored:
        previous = groups[-1][-1] if groups else None
        if previous is not None and previous in order[:-1] and order[order.index(previous) + 1] == axis:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    starts = [group[0] for group in groups]
    return form, groups, [starts.index(axis) for axis in order if axis in starts]


def on_last_axis(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume | fx.Node:
    """Operators on the last axis alone, such as a linear layer on `N T H W C`: one row per position."""
    x: Volume = args["input"]
    if len(args.get("normalized_shape", [1])) > 1:
        raise refuse(
            node, "it normalises over several axes", "use BatchNorm3d, or LayerNorm over channels alone"
        )
    rows = lowering.writer.reshape(x["plane"], (x.size // x.shape[-1], x.shape[-1]), name=f"{node.name}_rows")
    y = lowering.copy(node, (rows, *[args[a.name] for a in parameters(node)[1:]]))
    return reshaped(lowering, y, shape(node), name=f"{node.name}_shape")


def take(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Any:
    """Slices, single positions and splits along one axis."""
    x: Volume = args["self"]
    axis = args["dim"] % 5
    size = x.shape[axis]
    if node.target in (aten.split.Tensor, aten.split_with_sizes.default):
        sizes = [part.shape[axis] for part in node.meta["val"]]
        ends = list(accumulate(sizes))
        return tuple(
            _slice(lowering, x, axis, slice(end - length, end), name=f"{node.name}_{i}")
            for i, (end, length) in enumerate(zip(ends, sizes, strict=True))
        )
    if node.target is aten.select.int:
        index = args["index"] % size
        part = _slice(lowering, x, axis, slice(index, index + 1), name=node.name)
        return reshaped(lowering, part, shape(node), name=f"{node.name}_shape")
    return _slice(lowering, x, axis, slice(args["start"], args["end"], args["step"]), name=node.name)


def _slice(lowering: Lowering, x: Volume, axis: int, span: slice, *, name: str) -> Volume:
    start, stop, step = span.indices(x.shape[axis])
    if (start, stop, step) == (0, x.shape[axis], 1):
        return x
    form, position = PLACE[axis]
    form = form or x.forms[0]
    y = lowering.writer.call(aten.slice.Tensor, (x[form], position, start, stop, step), name=name)
    new_shape = list(x.shape)
    new_shape[axis] = len(range(start, stop, step))
    return x.in_form(form, y, tuple(new_shape))


def concatenate(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """Concatenation along any axis."""
    axis = args["dim"] % 5
    parts = [
        constant_volume(lowering, part, name=f"{node.name}_part{i}") for i, part in enumerate(args["tensors"])
    ]
    form, position = PLACE[axis]
    if form is None:
        wanted = lowering.wanted(node)
        form = min(
            ("frames", "plane"), key=lambda f: (sum(p.size for p in parts if f not in p.forms), f != wanted)
        )
    y = lowering.writer.call(aten.cat.default, ([part[form] for part in parts], position), name=node.name)
    return parts[0].in_form(form, y, shape(node))


def constant_volume(lowering: Lowering, value: Any, *, name: str) -> Volume:
    """A constant tensor of rank 5 as a value of the graph; a value as it is."""
    if isinstance(value, Volume):
        return value
    n, c, t, h, w = value.shape
    trainable = isinstance(value, nn.Parameter) and value.requires_grad
    store = lowering.writer.weight if trainable else lowering.writer.constant
    flat: Tensor = value.reshape(n, c, t, h * w)
    return Volume(lowering.writer, (n, c, t, h, w), "plane", store(flat, name=name))


def constant_pad(lowering: Lowering, node: fx.Node, args: dict[str, Any]) -> Volume:
    """Padding of T, H and W: zeros wait for a convolution to absorb them, everything else is written."""
    x: Volume = args["self"]
    amounts: Sequence[int] = [*args["pad"], *[0] * (10 - len(args["pad"]))]
    around = tuple((amounts[2 * i], amounts[2 * i + 1]) for i in (2, 1, 0))
    if any(amounts[6:]):
        raise refuse(
            node, "it pads channels or the batch", "concatenate zeros to the channels with torch.cat"
        )
    mode, value = args.get("mode", "constant"), args.get("value") or 0.0
    return Padded(lowering.writer, x, around, mode, value, name=node.name)
