"""Dense convolutions over frames of few channels, such as the first of a network: their planes are copied at
once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from export.layout.stream_order.rounding import DEQUANTIZE, READ_WEIGHT, is_dequantized, moves, stored
from export.lower.source import bind, shape
from export.lower.volume import HELD, HELD_FROM, Form

aten = torch.ops.aten

MULTIPLE = 4
"""Block size in channels of the integer kernel for dense convolutions; other counts are copied patch by patch."""


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """A spatial convolution over a frame, or over several concatenated along channels."""

    source: fx.Node
    """The dequantize node of the int8 values."""
    held: tuple[Form, tuple[int, ...]]
    """Their form and shape `1 C T H W`."""
    convolution: fx.Node
    reads: tuple[tuple[int | None, ...], ...]
    """For each output frame its input frames; None represents zeros."""


def gathered(module: fx.GraphModule) -> list[Gathered]:
    """The convolutions of this kind in a graph whose values with frames are recognised."""
    found = (_gathered(module, node) for node in module.graph.nodes if node.target is aten.conv2d.default)
    return [one for one in found if one is not None]


def _gathered(module: fx.GraphModule, node: fx.Node) -> Gathered | None:
    args = bind(node, node.args, node.kwargs)
    moved, reads = _origin(args["input"]), None
    if args["groups"] != 1 or args["weight"].target is not READ_WEIGHT:
        return None
    source = moved
    if moved.target is aten.conv2d.default:
        moving = bind(moved, moved.args, moved.kwargs)
        source, reads = _origin(moving["input"]), _reads(module, moved, moving)
        if reads is None:
            return None
    if HELD not in source.meta:
        return None
    held = source.meta[HELD]
    if reads is None:  # unmoved frames
        if held[1][1] != MULTIPLE - 1 or shape(args["weight"])[2:] == (1, 1):
            return None
        reads = [(at,) for at in range(held[1][2])]
    if source.target is aten.reshape.default:  # the network's input, `1 C T H W` viewed as the plane
        source = source.args[0]  # type: ignore[assignment]
    if not is_dequantized(source):
        return None
    inside = (tuple(at if 0 <= at < held[1][2] else None for at in window) for window in reads)
    return Gathered(source=source, held=held, convolution=node, reads=tuple(inside))


def _reads(module: fx.GraphModule, moved: fx.Node, args: dict[str, Any]) -> list[tuple[int, ...]] | None:
    """The frames, and those beyond the ends, that a temporal shift concatenates; None if it moves none."""
    taps = moves(module, moved) if HELD in moved.meta and moved.meta[HELD][0] == "plane" else None
    if taps is None or len(taps) < 2:
        return None
    stride, padding, dilation = (args[key][0] for key in ("stride", "padding", "dilation"))
    frames = moved.meta[HELD][1][2]
    return [tuple(at * stride - padding + tap * dilation for tap in taps) for at in range(frames)]


def _origin(node: fx.Node) -> fx.Node:
    while HELD_FROM in node.meta:
        node = node.meta[HELD_FROM]
    return node


def gather(module: fx.GraphModule, found: Gathered, *, name: str) -> None:
    """Makes the convolution read planes that are copied once, with zero planes up to a multiple of the block
    size."""
    graph, node = module.graph, found.convolution
    args = bind(node, node.args, node.kwargs)
    form, (_, channels, seen, rows, columns) = found.held
    numbers = stored(module, args["weight"].args[0])
    added = -numbers.shape[1] % MULTIPLE
    zeros = channels * seen
    step = (1, seen) if form == "plane" else (channels, 1)
    planes = [
        [zeros if at is None else at * step[0] + c * step[1] for at in window for c in range(channels)]
        + [zeros] * added
        for window in found.reads
    ]
    module.register_buffer(f"{name}_planes", torch.tensor(planes).flatten())
    module.register_buffer(f"{name}_weight", torch.nn.functional.pad(numbers, (0, 0, 0, 0, 0, added)))
    with graph.inserting_before(node):

        def call(target: Any, *args: Any) -> fx.Node:
            return graph.call_function(target, args)

        x = call(aten.reshape.default, found.source.args[0], [zeros, rows * columns])
        x = call(aten.constant_pad_nd.default, x, [0, 0, 0, 1], found.source.args[2])
        x = call(aten.index_select.default, x, 0, graph.get_attr(f"{name}_planes"))
        x = call(aten.reshape.default, x, [len(planes), len(planes[0]), rows, columns])
        x = call(DEQUANTIZE, x, *found.source.args[1:])
        weight = call(READ_WEIGHT, graph.get_attr(f"{name}_weight"), *args["weight"].args[1:])
    node.update_arg(0, x)
    node.update_arg(1, weight)
