"""Finds the values of a lowered program that have frames, from the program alone: saving drops the lowering's
`meta`.

The result is in the `meta` of the nodes, as in `export.lower`: `HELD` is the form and the shape `1 C T H W` of a
value, `HELD_FROM` the node with the same value in the other form.
"""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Any

import torch
from torch import fx

from export.lower.source import shape
from export.lower.volume import HELD, HELD_FROM, Form

aten = torch.ops.aten

MANY = 2
"""A rank-4 value with at least this batch size has frames there: programs are written for one clip."""


def recognise(graph: fx.Graph, known: Container[Any]) -> None:
    """Records form and shape at every node with frames; `known` are the operators that can have frames."""
    swapped: dict[fx.Node, fx.Node] = {}
    """Tensors (1, T, C, H*W) between the two forms -> their source node."""
    for node in graph.nodes:
        value = node.meta.get("val")
        if node.op == "output" or not isinstance(value, torch.Tensor) or node.op == "get_attr":
            continue
        source: Any = node.args[0] if node.args else None
        if node.target is aten.reshape.default:
            _reshaped(node, source, swapped)
        elif node.target is aten.permute.default:
            _exchanged(node, source, swapped)
        elif node.target in known and value.dim() == 4:
            _computed(node)


def _reshaped(node: fx.Node, source: fx.Node, swapped: dict[fx.Node, fx.Node]) -> None:
    sizes, before = shape(node), shape(source)
    if len(before) == 5 and sizes == (*before[:3], math.prod(before[3:])):
        node.meta[HELD] = ("plane", before)
    elif source in swapped and _held(swapped[source], "plane"):
        origin = swapped[source]
        _, (n, c, t, h, w) = origin.meta[HELD]
        if sizes == (t, c, h, w):
            node.meta.update({HELD: ("frames", (n, c, t, h, w)), HELD_FROM: origin})
    elif of := _held(source, "frames") or _held(source, "plane"):
        _, c, t, h, w = of
        form = source.meta[HELD][0]
        if t == 1 and sizes in ((1, c, h, w), (1, c, 1, h * w)):
            node.meta.update({HELD: ("frames" if sizes == (1, c, h, w) else "plane", of), HELD_FROM: source})
        elif form == "frames" and sizes == (1, t, c, h * w):
            swapped[node] = source


def _exchanged(node: fx.Node, source: fx.Node, swapped: dict[fx.Node, fx.Node]) -> None:
    if list(node.args[1]) != [0, 2, 1, 3]:  # type: ignore[arg-type]
        return
    if source in swapped and _held(swapped[source], "frames"):
        of = swapped[source].meta[HELD][1]
        node.meta.update({HELD: ("plane", of), HELD_FROM: swapped[source]})
    elif _held(source, "plane"):
        swapped[node] = source


def _computed(node: fx.Node) -> None:
    """An operator keeps the form of its input; its shape in that form gives the rest."""
    operands = [source for source in node.all_input_nodes if HELD in source.meta]
    several = [source for source in operands if source.meta[HELD][1][2] > 1] or operands
    n, c, rows, columns = shape(node)
    form: Form = several[0].meta[HELD][0] if several else "frames"
    if form == "frames":
        if several or n >= MANY or (rows, columns) == (1, 1):
            node.meta[HELD] = ("frames", (1, c, n, rows, columns))
        return
    image_sizes = {source.meta[HELD][1][3:] for source in several} | {(1, 1)}
    fitting = [(h, w) for h, w in image_sizes if n == 1 and h * w == columns]
    if fitting:
        node.meta[HELD] = ("plane", (1, c, rows, *fitting[0]))


def _held(node: Any, form: Form) -> tuple[int, ...] | None:
    """The shape `1 C T H W` of the value of `node` in `form`."""
    known, of = node.meta.get(HELD, (None, None)) if isinstance(node, fx.Node) else (None, None)
    return of if known == form else None
