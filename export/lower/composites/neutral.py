"""Operators that give back what they read, such as `cat([x])` and `x + 0`, which split partitions of runtimes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

NEUTRAL = {aten.add.Tensor: 0, aten.sub.Tensor: 0, aten.mul.Tensor: 1, aten.div.Tensor: 1}
"""The number with which each of them changes nothing."""


def without_neutral(graph: fx.Graph) -> None:
    """Given `cat([x])`, `x + 0`, `x - 0`, `x * 1` or `x / 1`, the result is `x`."""
    for node in list(graph.nodes):
        source = _same(node)
        # A file cannot give out its input as it is: there it takes an operator.
        if source is not None and not (source.op != "call_function" and _is_output(node)):
            node.replace_all_uses_with(source)
            graph.erase_node(node)


def _same(node: fx.Node) -> fx.Node | None:
    """What `node` gives back as it is; `None` where it changes something."""
    source: Any = None
    args: Any = node.args
    if node.target is aten.cat.default and len(args[0]) == 1:
        source = args[0][0]
    elif node.target in NEUTRAL and len(args) == 2:
        x, number = args
        # Of all values, x + 0 changes -0.0 alone, to 0.0, which is equal to it.
        if isinstance(number, int | float) and number == NEUTRAL[node.target]:
            source = x
    if not isinstance(source, fx.Node):
        return None
    before, after = source.meta.get("val"), node.meta.get("val")
    is_same = (
        isinstance(before, Tensor)
        and isinstance(after, Tensor)
        and (before.shape, before.dtype) == (after.shape, after.dtype)
    )
    return source if is_same else None


def _is_output(node: fx.Node) -> bool:
    return any(user.op == "output" for user in node.users)
