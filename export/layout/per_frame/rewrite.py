"""Rewrites a lowered graph: values with frames are written frame by frame, everything else is copied."""

from __future__ import annotations

import operator
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from export.layout.per_frame.frames import Frames, Joined, join
from export.lower.source import shape
from export.lower.volume import HELD, HELD_FROM, Form, shape_in
from export.lower.writer import Writer

aten = torch.ops.aten

BINARY = (
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.mul.Tensor,
    aten.div.Tensor,
    aten.maximum.default,
    aten.minimum.default,
)
"""Binary operators that are written frame by frame."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """Differences between runtimes in the per-frame form."""

    rules: Mapping[Any, Callable[[Rewriter, fx.Node], Frames | Joined | fx.Node | None]]
    """Operator -> its rule; a rule that returns None leaves the operator to be copied as a whole."""
    split_frames: Callable[..., Frames]
    """`split_frames(writer, whole, form, shape)`: the frames of a whole value, see `frames.split_frames`."""
    join_frames: Callable[..., fx.Node]
    """`join_frames(writer, value, form, *, name)`: the inverse, see `frames.join_frames`."""
    activated: Callable[[Rewriter, fx.Node, fx.Node], fx.Node]
    """`activated(rewriter, node, x)`: the unary operator `node` applied to the frame `x`."""
    spread: Callable[[Rewriter, Any, tuple[int, ...]], Any]
    """`spread(rewriter, value, frame_shape)`: an operand expanded for frames of shape `frame_shape`."""
    finish: Callable[[fx.GraphModule], None]
    """Changes the finished graph in place."""


class Rewriter:
    """State of one rewrite; rules request operands in the form that they need.

    `per_frame` contains the nodes that may be written frame by frame; None allows all. A graph of several clips is
    not changed.
    """

    def __init__(
        self, lowered: fx.GraphModule, style: Style, *, per_frame: Container[fx.Node] | None = None
    ) -> None:
        self.module, self.style, self._per_frame = lowered, style, per_frame
        inputs = [node for node in lowered.graph.nodes if node.op == "placeholder"]
        self.writer = Writer(inputs[0].meta["val"].fake_mode)
        self._values: dict[fx.Node, fx.Node | Frames | Joined] = {}
        self._wholes: dict[fx.Node, fx.Node] = {}
        self._pieces: dict[tuple[Any, ...], fx.Node] = {}
        self.spread: dict[tuple[fx.Node, tuple[int, ...]], fx.Node] = {}
        """Gates `1 C 1 1` that have been expanded over rows and columns, by the expanded shape."""

    def run(self) -> fx.GraphModule:
        """Writes the new graph."""
        for node in self.module.graph.nodes:
            self.writer.source = node
            if node.op == "placeholder":
                self._values[node] = self.writer.input(node)
            elif node.op == "get_attr":
                self._values[node] = self.writer.constant(self.tensor(node), name=str(node.target))
            elif node.op == "output":
                self.writer.graph.output(fx.map_arg(node.args[0], self.whole))
            else:
                self._values[node] = self._written(node)
        self.writer.graph.eliminate_dead_code()
        per_frame = fx.GraphModule(self.writer.root, self.writer.graph, class_name="Apart")
        self.style.finish(per_frame)
        return _without_unread(per_frame)

    def _written(self, node: fx.Node) -> fx.Node | Frames | Joined:
        _inherit(node)
        same = self._values.get(node.meta.get(HELD_FROM, node))
        if isinstance(same, Frames | Joined):
            return same
        rule = (
            self.style.rules.get(node.target) if self._per_frame is None or node in self._per_frame else None
        )
        result = rule(self, node) if rule is not None and held(node) is not None else None
        if result is not None:
            return result
        args, kwargs = fx.map_arg((node.args, node.kwargs), self.whole)
        return self.writer.call(node.target, args, name=node.name, kwargs=kwargs)

    def tensor(self, node: fx.Node) -> Tensor:
        """The constant of a get_attr node of the lowered graph."""
        return operator.attrgetter(str(node.target))(self.module).detach()

    def is_per_frame(self, node: Any) -> bool:
        """Whether `node` has been written frame by frame."""
        return isinstance(node, fx.Node) and isinstance(self._values[node], Frames | Joined)

    def parts(self, node: fx.Node) -> tuple[Frames, ...] | None:
        """The values that `node` concatenates along channels, None if it is one value."""
        value = self._values[node]
        return value.parts if isinstance(value, Joined) else None

    def frames(self, node: fx.Node) -> Frames | None:
        """`node` frame by frame; None if its value has no frames."""
        value = self._values[node]
        if isinstance(value, Joined):
            value = join(self.writer, value, name=node.name)
        elif isinstance(value, fx.Node):
            form_and_shape = held(node)
            if form_and_shape is None:
                return None
            self._wholes[node] = value
            source = node.meta.get(HELD_FROM)
            same = self.frames(source) if source in self._values else None
            value = same or self.style.split_frames(self.writer, value, *form_and_shape)
        self._values[node] = value
        return value

    def whole(self, node: fx.Node) -> fx.Node:
        """`node` as one tensor of its shape in the lowered graph."""
        value = self._values[node]
        if isinstance(value, fx.Node):
            return value
        if node not in self._wholes:
            form_and_shape = held(node)
            assert form_and_shape is not None
            self._wholes[node] = self.style.join_frames(self.writer, value, form_and_shape[0], name=node.name)
        return self._wholes[node]

    def piece(self, tensor: Tensor, *key: Any, name: str) -> fx.Node:
        """A part of a weight as a constant that is stored once; `key` identifies the part and the weight."""
        if key not in self._pieces:
            self._pieces[key] = self.writer.constant(tensor.clone().contiguous(), name=name)
        return self._pieces[key]


def _inherit(node: fx.Node) -> None:
    """A node inside a layer has the form of its operands."""
    operands = [operand.meta[HELD] for operand in node.all_input_nodes if HELD in operand.meta]
    if HELD in node.meta or not operands or node.target not in (*BINARY, aten.cat.default):
        return
    form, (n, _, t, h, w) = operands[0]
    value = (n, shape(node)[1], t, h, w)
    if shape(node) == shape_in(form, value):
        node.meta[HELD] = (form, value)


def held(node: fx.Node) -> tuple[Form, tuple[int, ...]] | None:
    """Form and shape `1 C T H W` of the value of `node`; None if it has none, or several clips."""
    form_and_shape = node.meta.get(HELD)
    if form_and_shape is None:
        return None
    form, of = form_and_shape
    return (form, of) if of[0] == 1 and shape(node) == shape_in(form, of) else None


def _without_unread(module: fx.GraphModule) -> fx.GraphModule:
    read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name in [*dict(module.named_parameters()), *dict(module.named_buffers())]:
        if name not in read:
            delattr(module, name)
    return module
