"""Finds depthwise convolutions over space and time that were lowered to a sum of spatial ones shifted in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from export.layout.stream_order.rounding import QUANTIZE, READ_WEIGHT, is_dequantized, moves, stored
from export.lower.source import bind
from export.lower.volume import HELD, HELD_FROM
from export.quantize.quantizer import CLAMPS

aten = torch.ops.aten

Reads = tuple[int | None, ...]
"""For each output frame its input frame; None represents zeros."""


@dataclass(frozen=True, kw_only=True)
class Tap:
    """One spatial convolution of a sum."""

    kernel: Tensor
    """`C 1 kH kW`."""
    bias: Tensor | None
    reads: Reads
    stride: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class TapSum:
    """A depthwise convolution over space and time, from its int8 input to the rounding after it."""

    source: fx.Node
    """The dequantize node of the input, in either form."""
    total: fx.Node
    """The sum of the taps."""
    quantize: fx.Node
    """The quantize node after it, possibly after a clamp."""
    taps: tuple[Tap, ...]

    @property
    def bias(self) -> Tensor | None:
        """The bias of the whole sum."""
        return next((tap.bias for tap in self.taps if tap.bias is not None), None)


def tap_sums(module: fx.GraphModule) -> list[TapSum]:
    """The sums of taps in a graph whose values with frames are recognised, last ones first."""
    found: list[TapSum] = []
    inside: set[fx.Node] = set()
    for node in reversed(module.graph.nodes):
        if node.target is QUANTIZE and HELD in node.meta and node not in inside:
            one = _tap_sum(module, node)
            if one is not None:
                found.append(one)
                inside |= set(_roundings(one.total))
    return found


def _tap_sum(module: fx.GraphModule, quantize: fx.Node) -> TapSum | None:
    total: Any = quantize.args[0]
    while total.target in CLAMPS and len(total.users) == 1:
        total = total.args[0]
    if not _is_sum(total):
        return None
    frames = total.meta[HELD][1][2]
    followed = [_followed(module, term, tuple(range(frames)), None) for term in _terms(total)]
    known = [one for one in followed if one is not None]
    taps, sources = [tap for tap, _ in known], [source for _, source in known]
    if len(known) < len(followed) or len({source.args for source in sources}) > 1:
        return None
    if len({(tap.kernel.shape, tap.stride, tap.padding) for tap in taps}) > 1:
        return None
    if sum(tap.bias is not None for tap in taps) > 1:
        return None
    return TapSum(source=sources[0], total=total, quantize=quantize, taps=tuple(taps))


def _is_sum(node: fx.Node) -> bool:
    """Whether `node` adds two values, each of them once, and has one user."""
    adds = node.target is aten.add.Tensor and len(node.all_input_nodes) == 2 and not node.kwargs
    return adds and HELD in node.meta and len(node.users) == 1


def _terms(total: fx.Node) -> Iterator[fx.Node]:
    """The terms of a sum of sums, without the rounding between them."""
    for operand in total.all_input_nodes:
        inner = _before_rounding(operand)
        if _is_sum(inner):
            yield from _terms(inner)
        else:
            yield operand


def _roundings(total: fx.Node) -> Iterator[fx.Node]:
    """The rounding operators between the sums of a sum."""
    for operand in total.all_input_nodes:
        inner = _before_rounding(operand)
        if inner is not operand and _is_sum(inner):
            yield from (*operand.all_input_nodes, *_roundings(inner))


def _before_rounding(node: Any) -> fx.Node:
    """The value that is rounded to int8 for `node`, if neither has another user; else `node` itself."""
    if not is_dequantized(node) or len(node.users) > 1:
        return node
    quantize = node.args[0]
    return quantize.args[0] if quantize.target is QUANTIZE and len(quantize.users) == 1 else node


def _followed(
    module: fx.GraphModule, node: fx.Node, reads: Reads, found: Tap | None
) -> tuple[Tap, fx.Node] | None:
    """A term that needs `reads`, followed to its int8 input: temporal shifts around one tap."""
    while HELD_FROM in node.meta:
        node = node.meta[HELD_FROM]
    if found is None and _before_rounding(node) is not node:
        return _followed(module, _before_rounding(node), reads, found)
    if HELD not in node.meta:
        return None
    if found is not None and is_dequantized(node):
        tap = Tap(
            kernel=found.kernel, bias=found.bias, reads=reads, stride=found.stride, padding=found.padding
        )
        return tap, node
    if node.target is not aten.conv2d.default:
        return None
    args = bind(node, node.args, node.kwargs)
    taps = moves(module, node) if node.meta[HELD][0] == "plane" else None
    if taps is not None and len(taps) == 1:
        frames = args["input"].meta[HELD][1][2]
        moved = (_moved(read, taps[0], args, frames) for read in reads)
        return _followed(module, args["input"], tuple(moved), found)
    if found is not None or node.meta[HELD][0] != "frames":
        return None
    in_space = _tap(module, args, reads)
    return None if in_space is None else _followed(module, args["input"], reads, in_space)


def _moved(read: int | None, tap: int, args: dict[str, Any], frames: int) -> int | None:
    """The index of frame `read` before a shift."""
    if read is None:
        return None
    at = int(read * args["stride"][0] - args["padding"][0] + tap * args["dilation"][0])
    return at if 0 <= at < frames else None


def _tap(module: fx.GraphModule, args: dict[str, Any], reads: Reads) -> Tap | None:
    """A spatial depthwise convolution with int8 weights as a tap; None for any other, and where its bias is missing
    in zero frames."""
    if args["weight"].target is not READ_WEIGHT or tuple(args["dilation"]) != (1, 1):
        return None
    kernel = stored(module, args["weight"])
    if args["groups"] != kernel.shape[0] or kernel.shape[1] != 1:
        return None
    bias = None if args["bias"] is None else stored(module, args["bias"])
    if bias is not None and None in reads:
        return None
    return Tap(
        kernel=kernel, bias=bias, reads=reads, stride=tuple(args["stride"]), padding=tuple(args["padding"])
    )
