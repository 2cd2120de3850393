"""Rules that write operators frame by frame for XNNPACK; the others are in `export.layout.per_frame.rules`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from export.layout.per_frame.frames import Frame, Frames, Joined, join, written
from export.layout.per_frame.rewrite import Rewriter, Style
from export.layout.per_frame.rules import RULES
from export.layout.stream_order.rounding import DEQUANTIZE, QUANTIZE, is_dequantized, is_stored, moves
from export.lower.source import bind, shape
from export.lower.volume import HELD, Form
from export.lower.writer import Writer

aten = torch.ops.aten

ARRIVES = "arrives"
"""Key of a node's `meta`: the index of the frame that it takes out of a whole value."""

JOINED_AT_ONCE = 5
"""Maximum number of operands of a concatenation in XNNPACK."""


def convolution(rewriter: Rewriter, node: fx.Node) -> Frames | Joined | None:
    """Spatial, or 1x1 in any form: each frame separately. Temporal: moved frames, or a convolution over a stack."""
    args = bind(node, node.args, node.kwargs)
    if not is_stored(args["weight"]):
        return None
    rows, columns = shape(args["weight"])[2:]
    if node.meta[HELD][0] == "frames" or (rows, columns) == (1, 1) == tuple(args["stride"]):
        return _each_frame(rewriter, node, args) if not any(args["padding"]) or _is_frames(node) else None
    if columns != 1 or args["stride"][1] != 1 or args["padding"][1] != 0:
        return None
    return _in_time(rewriter, node, args)


def _is_frames(node: fx.Node) -> bool:
    return node.meta[HELD][0] == "frames"


def _each_frame(rewriter: Rewriter, node: fx.Node, args: dict[str, Any]) -> Frames | None:
    geometry = (args["stride"], args["padding"], args["dilation"], args["groups"])
    parts = rewriter.parts(args["input"]) if args["groups"] == 1 else None
    if parts is None:
        x = rewriter.frames(args["input"])
        if x is None:
            return None
        parts = (x,)
    known: dict[tuple[Frame, ...], Frame] = {}
    for window in zip(*(part.nodes for part in parts), strict=True):
        if window not in known:
            seen = [at for at, frame in enumerate(window) if frame is not None]
            weight = _channels(rewriter, args["weight"], parts, seen)
            known[window] = _convolved(
                rewriter, node, [f for f in window if f is not None], weight, args, geometry, dim=1
            )
    nodes = tuple(known[window] for window in zip(*(part.nodes for part in parts), strict=True))
    return Frames(shape=node.meta[HELD][1], nodes=nodes)


def _in_time(rewriter: Rewriter, node: fx.Node, args: dict[str, Any]) -> Frames | Joined | None:
    """A kernel (k, 1) over the plane: its input frames stacked along rows, with their height as dilation."""
    x = rewriter.frames(args["input"])
    if x is None:
        return None
    of, frames = node.meta[HELD][1], x.shape[2]
    stride, padding, dilation = args["stride"][0], args["padding"][0], args["dilation"][0]

    def seen(out: int, tap: int) -> Frame:
        index = out * stride - padding + tap * dilation
        return x.nodes[index] if 0 <= index < frames else None

    taps = moves(rewriter.module, node)
    if taps is not None:
        moved = (*x.shape[:2], *of[2:])
        parts = [Frames(shape=moved, nodes=tuple(seen(out, tap) for out in range(of[2]))) for tap in taps]
        return parts[0] if len(parts) == 1 else Joined(parts=tuple(parts))
    kernel = shape(args["weight"])[2]
    geometry = ([1, 1], [0, 0], [x.shape[3], 1], args["groups"])
    nodes = []
    for out in range(of[2]):
        inside = [tap for tap in range(kernel) if seen(out, tap) is not None]
        if inside and inside != list(range(inside[0], inside[-1] + 1)):
            return None
        weight = _piece(rewriter, args["weight"], 2, inside)
        nodes.append(
            _convolved(rewriter, node, [seen(out, tap) for tap in inside], weight, args, geometry, dim=2)
        )
    return Frames(shape=of, nodes=tuple(nodes))


def _convolved(
    rewriter: Rewriter,
    node: fx.Node,
    frames: Sequence[Frame],
    weight: fx.Node,
    args: dict[str, Any],
    geometry: tuple[Any, ...],
    *,
    dim: int,
) -> Frame:
    """One convolution over `frames` joined along `dim`; without frames, the result of the bias."""
    bias = args["bias"]
    if not frames:
        if bias is None:
            return None
        _, c, _, h, w = node.meta[HELD][1]
        return rewriter.writer.call(
            aten.expand.default,
            (
                rewriter.writer.reshape(rewriter.whole(bias), (1, c, 1, 1), name=f"{node.name}_bias"),
                [1, c, h, w],
            ),
            name=node.name,
        )
    x = joined(rewriter.writer, [f for f in frames if f is not None], dim, name=node.name)
    return rewriter.writer.call(
        node.target, (x, weight, None if bias is None else rewriter.whole(bias), *geometry), name=node.name
    )


def _channels(rewriter: Rewriter, weight: fx.Node, parts: tuple[Frames, ...], seen: list[int]) -> fx.Node:
    """The weights of the parts in `seen`, concatenated along channels."""
    if len(seen) == len(parts):
        return rewriter.whole(weight)
    ends = [sum(part.shape[1] for part in parts[: at + 1]) for at in range(len(parts))]
    channels = [c for at in seen for c in range(ends[at] - parts[at].shape[1], ends[at])]
    return _piece(rewriter, weight, 1, channels)


def _piece(rewriter: Rewriter, weight: fx.Node, dim: int, entries: list[int]) -> fx.Node:
    """A constant weight with only some entries of `dim`."""
    if entries == list(range(shape(weight)[dim])):
        return rewriter.whole(weight)
    numbers: Any = weight if weight.op == "get_attr" else weight.args[0]
    chosen = torch.tensor(entries, dtype=torch.int64)
    piece = rewriter.piece(
        rewriter.tensor(numbers).index_select(dim, chosen), weight, dim, *entries, name=f"{numbers.name}_part"
    )
    if numbers is weight:
        return piece
    rest = fx.map_arg(weight.args[1:], rewriter.whole)
    return rewriter.writer.call(weight.target, (piece, *rest), name=weight.name, kwargs=weight.kwargs)


def activation(rewriter: Rewriter, node: fx.Node, x: fx.Node) -> fx.Node:
    """A unary function, unchanged."""
    return rewriter.writer.call(node.target, (x, *node.args[1:]), name=node.name, kwargs=node.kwargs)


def quantize(rewriter: Rewriter, node: fx.Node) -> Frames | None:
    """Frame by frame if its operand is; a value just dequantized with the same scale stays int8."""
    source: Any = node.args[0]
    if not rewriter.is_per_frame(source):
        return None
    x = rewriter.frames(source)
    assert x is not None

    def change(frame: Frame) -> Frame:
        if frame is None:
            return None
        if is_dequantized(frame) and frame.args[1:] == node.args[1:]:
            return frame.args[0]  # type: ignore[return-value]
        return activation(rewriter, node, frame)

    return x.each(change)


def dequantize(rewriter: Rewriter, node: fx.Node) -> Frames | None:
    """Frame by frame if its operand is."""
    source: Any = node.args[0]
    if not rewriter.is_per_frame(source):
        return None
    x = rewriter.frames(source)
    assert x is not None
    return x.each(lambda frame: None if frame is None else activation(rewriter, node, frame))


def pool(rewriter: Rewriter, node: fx.Node) -> Frames | None:
    """Over rows and columns of each frame."""
    x = rewriter.frames(node.args[0]) if _is_frames(node) else None  # type: ignore[arg-type]
    if x is None:
        return None
    of = node.meta[HELD][1]
    return x.each(
        lambda frame: activation(
            rewriter, node, written(rewriter.writer, frame, x.frame_shape, name=node.name)
        ),
        of,
    )


def mean(rewriter: Rewriter, node: fx.Node) -> Frames | None:
    """Of each frame; over the plane that of all frames stacked, in float of their means."""
    args = bind(node, node.args, node.kwargs)
    over_images = sorted(axis % 4 for axis in args["dim"]) == [2, 3] and args["keepdim"]
    if not rewriter.is_per_frame(args["self"]) or not over_images:
        return None
    x = rewriter.frames(args["self"])
    assert x is not None
    if _is_frames(node):
        return pool(rewriter, node)
    frames = [written(rewriter.writer, frame, x.frame_shape, name=node.name) for frame in x.nodes]
    if not all(map(is_dequantized, frames)) and x.shape[3:] != (1, 1):
        frames = [activation(rewriter, node, frame) for frame in frames]
    stack = joined(rewriter.writer, frames, 2, name=f"{node.name}_frames")
    return Frames(shape=node.meta[HELD][1], nodes=(activation(rewriter, node, stack),))


def split_frames(writer: Writer, whole: fx.Node, form: Form, of: tuple[int, ...]) -> Frames:
    """The frames of `whole`, which holds a value of shape `of` in `form`, as slices."""
    _, c, t, h, w = of
    nodes = []
    for index in range(t):
        frame = whole
        if t > 1:
            axis = 0 if form == "frames" else 2
            frame = writer.call(
                aten.slice.Tensor, (whole, axis, index, index + 1), name=f"{whole.name}_frame{index}"
            )
            frame.meta[ARRIVES] = index
        nodes.append(writer.reshape(frame, (1, c, h, w), name=f"{whole.name}_picture{index}"))
    return Frames(shape=of, nodes=tuple(nodes))


def join_frames(writer: Writer, value: Frames | Joined, form: Form, *, name: str) -> fx.Node:
    """`value` as one tensor in `form`; zero frames at its ends become padding."""
    if isinstance(value, Joined):
        value = join(writer, value, name=name)
    _, c, _, h, w = value.shape
    present = [at for at, frame in enumerate(value.nodes) if frame is not None]
    frames = [
        written(writer, frame, value.frame_shape, name=name)
        for frame in value.nodes[present[0] : present[-1] + 1]
    ]
    before, after = present[0], len(value.nodes) - 1 - present[-1]
    if form == "plane":
        frames = [
            writer.reshape(frame, (1, c, 1, h * w), name=f"{name}_row{i}") for i, frame in enumerate(frames)
        ]
    whole = joined(writer, frames, 0 if form == "frames" else 2, name=f"{name}_together")
    if before or after:
        amounts = [0, 0, 0, 0, 0, 0, before, after] if form == "frames" else [0, 0, before, after]
        whole = writer.call(aten.constant_pad_nd.default, (whole, amounts), name=f"{name}_padded")
    return whole


def joined(writer: Writer, nodes: Sequence[fx.Node], dim: int, *, name: str) -> fx.Node:
    """`nodes` concatenated along `dim`; many of them in groups of XNNPACK's maximum."""
    if len(nodes) == 1:
        return nodes[0]
    inner = math.ceil((len(nodes) - JOINED_AT_ONCE) / (JOINED_AT_ONCE - 1))
    if inner > 0:
        size = JOINED_AT_ONCE if inner <= JOINED_AT_ONCE else math.ceil(len(nodes) / JOINED_AT_ONCE)
        count = min(inner, JOINED_AT_ONCE)
        groups = [nodes[at * size : (at + 1) * size] for at in range(count)]
        nodes = [
            *(joined(writer, group, dim, name=name) for group in groups if group),
            *nodes[count * size :],
        ]
    return writer.call(aten.cat.default, (list(nodes), dim), name=name)


STREAMED = Style(
    rules={
        **RULES,
        aten.conv2d.default: convolution,
        aten.avg_pool2d.default: pool,
        aten.max_pool2d.default: pool,
        aten.mean.dim: mean,
        QUANTIZE: quantize,
        DEQUANTIZE: dequantize,
    },
    split_frames=split_frames,
    join_frames=join_frames,
    activated=activation,
    spread=lambda rewriter, value, frame_shape: value,
    finish=lambda module: None,
)
