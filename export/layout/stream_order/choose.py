"""Chooses the operators to write frame by frame: where that avoids moving frames and packs few weights."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Any

import torch
from torch import fx

from export.layout.stream_order.rounding import is_stored, moves
from export.lower.source import bind, shape
from export.lower.volume import HELD, HELD_FROM

aten = torch.ops.aten

LIGHT = 4
"""A convolution is light if it has at most a quarter as many weights as inputs and outputs for one frame."""

FEW_CHANNELS = 4
"""A 1x1 depthwise convolution of so few channels normalises a clip: one operator for all frames is fastest."""

MOST_FRAMES = 32
"""With more frames, graphs become too large to convert."""


def choose(module: fx.GraphModule, known: Container[Any], *, plane_costs: bool) -> set[fx.Node]:
    """Connected parts of the graph in which every operator can be written frame by frame, with a speedup.

    `known` are the operators that have rules. `plane_costs` states whether the runtime has to move values for
    temporal convolutions over the plane (T, H*W), so that avoiding these is a gain as well.
    """
    per_frame: set[fx.Node] = set()
    for part in _connected([node for node in module.graph.nodes if _is_able(node, known)]):
        gains = any(_is_gain(module, node, plane_costs=plane_costs) for node in part)
        if gains and any(_is_dense(module, node) for node in part):
            per_frame |= part
    return per_frame


def _is_able(node: fx.Node, known: Container[Any]) -> bool:
    if HELD in node.meta and HELD_FROM in node.meta:
        return True
    if node.target not in known or HELD not in node.meta:
        return False
    if node.meta[HELD][1][2] > MOST_FRAMES:
        return False
    return node.target is not aten.conv2d.default or _is_light(node)


def _is_light(node: fx.Node) -> bool:
    args = bind(node, node.args, node.kwargs)
    if not is_stored(args["weight"]) or HELD not in args["input"].meta:
        return False
    weight = shape(args["weight"])
    if args["groups"] == weight[0] <= FEW_CHANNELS and weight[2:] == (1, 1):
        return False
    numbers = sum(math.prod(_frame(held)) for held in (args["input"], node))
    return LIGHT * math.prod(weight) <= numbers


def _frame(node: fx.Node) -> tuple[int, int, int]:
    _, (_, c, _, h, w) = node.meta[HELD]
    return c, h, w


def _is_gain(module: fx.GraphModule, node: fx.Node, *, plane_costs: bool) -> bool:
    """Whether `node` moves frames to be summed, which is free per frame, or mixes them in the plane."""
    if node.target is not aten.conv2d.default or node.meta[HELD][0] != "plane":
        return False
    args = bind(node, node.args, node.kwargs)
    if shape(args["weight"])[2] == 1:
        return False
    taps = moves(module, node)
    return plane_costs if taps is None else len(taps) == 1


def _is_dense(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.target is not aten.conv2d.default or node.meta[HELD][1][2] == 1:
        return False
    args = bind(node, node.args, node.kwargs)
    return args["groups"] == 1 and moves(module, node) is None


def _connected(nodes: list[fx.Node]) -> list[set[fx.Node]]:
    """The connected components of the graph restricted to `nodes`."""
    inside, parts, seen = set(nodes), [], set()
    for first in nodes:
        if first in seen:
            continue
        part, queue = {first}, [first]
        while queue:
            node = queue.pop()
            near = [*node.all_input_nodes, *node.users, *_other_forms(node, inside)]
            for other in near:
                if other in inside and other not in part:
                    part.add(other)
                    queue.append(other)
        seen |= part
        parts.append(part)
    return parts


def _other_forms(node: fx.Node, inside: set[fx.Node]) -> list[fx.Node]:
    """Nodes with the same value: the source of this one, and those two moves after it."""
    source = node.meta.get(HELD_FROM)
    behind = [far for near in node.users for far in near.users if far.meta.get(HELD_FROM) is node]
    near = [other for other in node.users if other.meta.get(HELD_FROM) is node]
    return [other for other in (source, *behind, *near) if other in inside]
