"""Writes operators so that ONNX Runtime keeps values in its blocked layout (NCHWc).

Its optimiser supports convolutions, pooling, Relu, Sigmoid, Tanh, sums and products of equal shapes there; any
other operator costs a reordering before and after (onnxruntime, core/optimizer/nchwc_transformer.cc). Operators
fused into a convolution stay in the layout, so an unsupported activation becomes a 1x1 convolution that copies, or
scales, with a clamp or a sigmoid fused into it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from export.layout.per_frame.rewrite import Rewriter
from export.lower.source import shape

aten = torch.ops.aten

BLOCK = 16
"""Channels of one block of the layout (AVX-512; 8 with AVX2)."""

CLAMPS = (aten.hardtanh.default, aten.relu6.default, aten.clamp.default)


def activated(rewriter: Rewriter, node: fx.Node, x: fx.Node) -> fx.Node:
    """The activation `node` applied to the frame `x`, `1 C H W`."""
    frame_shape = shape(x)
    if frame_shape[1] >= BLOCK and frame_shape[2:] != (1, 1):
        if node.target in CLAMPS and x.target is aten.add.Tensor:
            # A clamp is fused into a convolution, but not into one with a fused addition.
            x = per_channel(rewriter, x, scale=1.0, name=node.name)
        elif node.target is aten.silu.default:
            # x and Sigmoid as siblings would be fused into QuickGelu, which the layout does not support.
            copied = per_channel(rewriter, x, scale=1.0, name=node.name)
            gate = rewriter.writer.call(aten.sigmoid.default, (copied,), name=f"{node.name}_gate")
            return rewriter.writer.call(aten.mul.Tensor, (x, gate), name=node.name)
        elif node.target is aten.hardswish.default:
            raised = per_channel(rewriter, x, scale=1 / 6, shift=0.5, name=node.name)
            gate = rewriter.writer.call(aten.hardtanh.default, (raised, 0.0, 1.0), name=f"{node.name}_gate")
            return rewriter.writer.call(aten.mul.Tensor, (x, gate), name=node.name)
    return rewriter.writer.call(node.target, (x, *node.args[1:]), name=node.name, kwargs=node.kwargs)


def spread(rewriter: Rewriter, value: Any, frame_shape: tuple[int, ...]) -> Any:
    """A gate `1 C 1 1` for frames of shape `frame_shape`, expanded over rows and columns once for all frames.

    The layout does not support a product that broadcasts; it supports one of equal shapes, and nearest-neighbour
    resizing.
    """
    if (
        not isinstance(value, fx.Node)
        or value.op == "get_attr"
        or frame_shape[1] < BLOCK
        or frame_shape[2:] == (1, 1)
    ):
        return value
    if shape(value) != (*frame_shape[:2], 1, 1):
        return value
    if (value, frame_shape) not in rewriter.spread:
        rewriter.spread[value, frame_shape] = rewriter.writer.call(
            aten.upsample_nearest2d.default, (value, list(frame_shape[2:])), name=f"{value.name}_spread"
        )
    return rewriter.spread[value, frame_shape]


def per_channel(rewriter: Rewriter, x: fx.Node, *, scale: float, shift: float = 0.0, name: str) -> fx.Node:
    """`x * scale + shift` as a depthwise 1x1 convolution."""
    channels = shape(x)[1]
    weight = rewriter.piece(
        torch.full((channels, 1, 1, 1), scale), "scale", scale, channels, name=f"{name}_factors"
    )
    bias = None
    if shift:
        bias = rewriter.piece(
            torch.full((channels,), shift), "shift", shift, channels, name=f"{name}_offsets"
        )
    return rewriter.writer.call(
        aten.conv2d.default, (x, weight, bias, [1, 1], [0, 0], [1, 1], channels), name=f"{name}_copy"
    )
