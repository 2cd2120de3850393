"""Convolutions over per-frame values: spatial ones frame by frame, temporal ones as sums over the frames of each
tap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from export.layout.per_frame.blocked import BLOCK
from export.layout.per_frame.frames import Frame, Frames, Joined
from export.layout.per_frame.rewrite import Rewriter
from export.layout.per_frame.winograd import pays, two_frames

aten = torch.ops.aten


def spatial(
    rewriter: Rewriter, node: fx.Node, args: dict[str, Any], weight: Tensor, bias: Tensor | None
) -> Frames:
    """A Conv2d of each frame; over joined values a sum of one Conv2d for each of them.

    With less than a block of channels a sum would leave the kernels half empty, so these are concatenated.
    """
    parts = rewriter.parts(args["input"])
    if parts is None or args["groups"] != 1 or min(part.shape[1] for part in parts) < BLOCK:
        x = rewriter.frames(args["input"])
        assert x is not None
        parts = (x,)
    geometry = (args["stride"], args["padding"], args["dilation"], args["groups"])
    kernels = list(weight.split([part.shape[1] for part in parts], 1)) if len(parts) > 1 else [weight]
    windows = list(zip(*(part.nodes for part in parts), strict=True))
    return _convolved(rewriter, node, kernels, windows, bias, geometry)


def _convolved(
    rewriter: Rewriter,
    node: fx.Node,
    kernels: list[Tensor],
    windows: list[tuple[Frame, ...]],
    bias: Tensor | None,
    geometry: tuple[Any, ...],
) -> Frames:
    """One output frame for each window: the sum of the window's frames, each convolved with its kernel `O I kH
    kW`."""
    _, of = node.meta["held"]
    frame_shape = (1, of[1], *of[3:])
    known: dict[tuple[Frame, ...], Frame] = {}
    nodes: list[Frame] = []
    while len(nodes) < len(windows):
        window, following = windows[len(nodes)], windows[len(nodes) + 1 : len(nodes) + 2]
        if following and following[0][:-1] == window[1:]:
            four = (*window, following[0][-1])
            if pays(kernels, four, geometry[-1]):
                nodes += two_frames(rewriter, node, kernels, four, bias, geometry)
                continue
        if window not in known:
            terms = [
                (f"tap{tap}", kernel, frame)
                for tap, (kernel, frame) in enumerate(zip(kernels, window, strict=True))
                if frame is not None and kernel.any()
            ]
            known[window] = _sum(rewriter, node, terms, bias, geometry, frame_shape=frame_shape)
        nodes.append(known[window])
    return Frames(shape=of, nodes=tuple(nodes))


def temporal(
    rewriter: Rewriter, node: fx.Node, args: dict[str, Any], weight: Tensor, bias: Tensor | None
) -> Frames | Joined:
    """A Conv2d (k, 1) over the plane: each output frame is a sum of 1x1 convolutions, one per input frame."""
    moves = _moves(weight, args["groups"]) if bias is None else None
    x = rewriter.frames(args["input"])
    assert x is not None
    _, of = node.meta["held"]
    stride, padding, dilation = args["stride"][0], args["padding"][0], args["dilation"][0]

    def seen(out: int, tap: int) -> Frame:
        index = out * stride - padding + tap * dilation
        return x.nodes[index] if 0 <= index < x.shape[2] else None

    if moves is not None:
        shape = (*x.shape[:2], of[2], *x.shape[3:])
        moved = [Frames(shape=shape, nodes=tuple(seen(out, tap) for out in range(of[2]))) for tap in moves]
        return moved[0] if len(moved) == 1 else Joined(parts=tuple(moved))
    kernels = [weight[:, :, tap : tap + 1] for tap in range(weight.shape[2])]
    windows = [tuple(seen(out, tap) for tap in range(len(kernels))) for out in range(of[2])]
    return _convolved(rewriter, node, kernels, windows, bias, ([1, 1], [0, 0], [1, 1], args["groups"]))


def _moves(weight: Tensor, groups: int) -> list[int] | None:
    """The taps that a one-hot kernel copies, block of channels by block; None for any other kernel."""
    outputs, inputs, taps, _ = weight.shape
    if groups == outputs and inputs == 1:
        hot = [tap for tap in range(taps) if weight[:, :, tap].any()]
        return hot if len(hot) == 1 and bool((weight[:, :, hot[0]] == 1).all()) else None
    if groups != 1 or outputs % inputs:
        return None
    moves = []
    for block in weight.split(inputs):
        hot = [tap for tap in range(taps) if block[:, :, tap].any()]
        if len(hot) != 1 or not torch.equal(block[:, :, hot[0], 0], torch.eye(inputs)):
            return None
        moves.append(hot[0])
    return moves


def _sum(
    rewriter: Rewriter,
    node: fx.Node,
    terms: list[tuple[str, Tensor, fx.Node]],
    bias: Tensor | None,
    geometry: tuple[Any, ...],
    *,
    frame_shape: tuple[int, ...],
) -> Frame:
    """The sum of convolutions, of which the first adds the bias; without terms the bias alone."""
    offset = None if bias is None else rewriter.piece(bias, node, "bias", name=f"{node.name}_bias")
    if not terms:
        if bias is None:
            return None
        alone = bias.reshape(1, -1, 1, 1).expand(frame_shape)
        return rewriter.piece(alone, node, "bias alone", name=f"{node.name}_bias_alone")
    total: fx.Node | None = None
    for key, tensor, frame in terms:
        weight = rewriter.piece(tensor, node, key, name=f"{node.name}_{key}_weight")
        y = rewriter.writer.call(
            aten.conv2d.default, (frame, weight, offset if total is None else None, *geometry), name=node.name
        )
        total = (
            y if total is None else rewriter.writer.call(aten.add.Tensor, (total, y), name=f"{node.name}_sum")
        )
    return total
