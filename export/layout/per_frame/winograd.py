"""Winograd's F(2, 3) along time: dense kernels of three temporal taps with two thirds of the multiplications.

Two output frames y0, y1 depend on four input frames d0..d3. With the taps g0, g1, g2 (each a Conv2d kernel)
    m0 = g0 * (d0 - d2)                    y0 = m0 + m1 + m2
    m1 = (g0 + g1 + g2) / 2 * (d1 + d2)    y1 = m1 - m2 - m3
    m2 = (g0 - g1 + g2) / 2 * (d2 - d1)
    m3 = g2 * (d1 - d3)

that is four convolutions instead of six; the cost of adding frames is small. The stored kernels grow from three to
four. Source: Winograd 1980, "Arithmetic Complexity of Computations"; Lavin and Gray 2016, "Fast Algorithms for
Convolutional Neural Networks", section 4.1.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from export.layout.per_frame.blocked import per_channel
from export.layout.per_frame.frames import Frame
from export.layout.per_frame.rewrite import Rewriter

aten = torch.ops.aten

LEAST_CHANNELS = 32
"""With fewer channels in or out a convolution is so cheap that the sums of frames dominate."""

MIN_FRAMES = 5
"""Nonzero input frames of two outputs, counted for each; below this number the direct form is as cheap."""


def pays(taps: list[Tensor], frames: tuple[Frame, ...], groups: int) -> bool:
    """Whether this algorithm is cheaper for two outputs that depend on `frames`."""
    seen = sum(frame is not None for window in (frames[:3], frames[1:]) for frame in window)
    return len(taps) == 3 and groups == 1 and min(taps[0].shape[:2]) >= LEAST_CHANNELS and seen >= MIN_FRAMES


def two_frames(
    rewriter: Rewriter,
    node: fx.Node,
    taps: list[Tensor],
    frames: tuple[Frame, ...],
    bias: Tensor | None,
    geometry: tuple[Any, ...],
) -> tuple[fx.Node, fx.Node]:
    """The outputs y0 and y1 of four `frames` under three `taps`, kernels `O I kH kW`; `geometry` as in Conv2d."""
    d0, d1, d2, d3 = frames
    g0, g1, g2 = taps
    offset = None if bias is None else rewriter.piece(bias, node, "bias", name=f"{node.name}_bias")

    def product(key: str, kernel: Tensor, frame: fx.Node, offset: fx.Node | None = None) -> fx.Node:
        weight = rewriter.piece(kernel, node, key, name=f"{node.name}_{key}_weight")
        return rewriter.writer.call(
            aten.conv2d.default, (frame, weight, offset, *geometry), name=f"{node.name}_{key}"
        )

    m1 = product("even", (g0 + g1 + g2) / 2, _sum(rewriter, node, d1, d2, 1), offset)
    m2 = product("odd", (g0 - g1 + g2) / 2, _sum(rewriter, node, d2, d1, -1))
    m0 = product("first", g0, _sum(rewriter, node, d0, d2, -1))
    m3 = product("last", g2, _sum(rewriter, node, d3, d1, -1))
    y0 = _add(rewriter, node, _add(rewriter, node, m1, m2), m0)
    y1 = _add(rewriter, node, _sum(rewriter, node, m1, m2, -1), m3)
    return y0, y1


def _add(rewriter: Rewriter, node: fx.Node, a: fx.Node, b: fx.Node) -> fx.Node:
    return rewriter.writer.call(aten.add.Tensor, (a, b), name=f"{node.name}_sum")


def _sum(rewriter: Rewriter, node: fx.Node, a: Frame, b: Frame, sign: int) -> fx.Node:
    """`a + sign * b`, the sign as a 1x1 convolution: a subtraction would leave the blocked layout."""
    if b is not None and sign == -1:
        b = per_channel(rewriter, b, scale=-1.0, name=f"{node.name}_minus")
    if a is None or b is None:
        present = b if a is None else a
        assert present is not None
        return present
    return _add(rewriter, node, b, a)
