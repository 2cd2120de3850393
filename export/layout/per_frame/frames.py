"""A value of the lowered graph as one tensor per frame, with conversions from and to one tensor."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import fx

from export.lower.volume import Form
from export.lower.writer import Writer

aten = torch.ops.aten

Frame = fx.Node | None
"""A tensor `(1, C, H, W)`; None represents zeros."""


@dataclass(frozen=True, kw_only=True)
class Frames:
    """`shape` is `1 C T H W`, `nodes` holds its T frames."""

    shape: tuple[int, ...]
    nodes: tuple[Frame, ...]

    @property
    def frame_shape(self) -> tuple[int, int, int, int]:
        """Shape of one frame, `(1, C, H, W)`."""
        _, c, _, h, w = self.shape
        return (1, c, h, w)

    def each(self, change: Callable[[Frame], Frame], shape: Sequence[int] | None = None) -> Frames:
        """`change` applied to every frame; a repeated frame is written once."""
        written = {node: change(node) for node in dict.fromkeys(self.nodes)}
        return Frames(shape=tuple(shape or self.shape), nodes=tuple(written[node] for node in self.nodes))


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Values to be concatenated along channels; a convolution may take them one by one."""

    parts: tuple[Frames, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """`1 C T H W` of the concatenation."""
        n, _, t, h, w = self.parts[0].shape
        return (n, sum(part.shape[1] for part in self.parts), t, h, w)


def split_frames(writer: Writer, whole: fx.Node, form: Form, shape: tuple[int, ...]) -> Frames:
    """The frames of `whole`, which holds a value of `shape` in `form`."""
    _, c, t, h, w = shape
    if t == 1:
        return Frames(shape=shape, nodes=(writer.reshape(whole, (1, c, h, w), name=f"{whole.name}_frame"),))
    axis = 0 if form == "frames" else 2
    parts = writer.call(aten.split.Tensor, (whole, 1, axis), name=f"{whole.name}_apart")
    nodes = []
    for index in range(t):
        part = writer.call(operator.getitem, (parts, index), name=f"{whole.name}_part{index}")
        nodes.append(writer.reshape(part, (1, c, h, w), name=f"{whole.name}_frame{index}"))
    return Frames(shape=shape, nodes=tuple(nodes))


def join_frames(writer: Writer, value: Frames | Joined, form: Form, *, name: str) -> fx.Node:
    """`value` as one tensor in `form`."""
    if isinstance(value, Joined):
        value = join(writer, value, name=name)
    _, c, t, h, w = value.shape
    nodes = [written(writer, frame, value.frame_shape, name=name) for frame in value.nodes]
    if form == "frames":
        return nodes[0] if t == 1 else writer.call(aten.cat.default, (nodes, 0), name=f"{name}_together")
    rows = [writer.reshape(node, (1, c, 1, h * w), name=f"{name}_row{i}") for i, node in enumerate(nodes)]
    return rows[0] if t == 1 else writer.call(aten.cat.default, (rows, 2), name=f"{name}_together")


def join(writer: Writer, value: Joined, *, name: str) -> Frames:
    """The parts of `value` concatenated, frame by frame."""
    nodes: list[Frame] = []
    for index, frames in enumerate(zip(*(part.nodes for part in value.parts), strict=True)):
        if all(frame is None for frame in frames):
            nodes.append(None)
            continue
        parts = [
            written(writer, frame, part.frame_shape, name=name)
            for frame, part in zip(frames, value.parts, strict=True)
        ]
        nodes.append(writer.call(aten.cat.default, (parts, 1), name=f"{name}_{index}"))
    return Frames(shape=value.shape, nodes=tuple(nodes))


def written(writer: Writer, frame: Frame, frame_shape: tuple[int, int, int, int], *, name: str) -> fx.Node:
    """The frame itself, or zeros of its shape."""
    return writer.constant(torch.zeros(frame_shape), name=f"{name}_zeros") if frame is None else frame
