"""Removes identity operators, such as `cat([x])` and `x + 0`, which split partitions of runtimes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

aten = torch.ops.aten

NEUTRAL = {aten.add.Tensor: 0, aten.sub.Tensor: 0, aten.mul.Tensor: 1, aten.div.Tensor: 1}
"""The neutral element of each operator."""


def without_neutral(graph: fx.Graph) -> None:
    """Replaces `cat([x])`, `x + 0`, `x - 0`, `x * 1` and `x / 1` with `x`."""
    for node in list(graph.nodes):
        source = _same(node)
        # A file cannot return its input unchanged: there it needs an operator.
        if source is not None and not (source.op != "call_function" and _is_output(node)):
            node.replace_all_uses_with(source)
            graph.erase_node(node)


def _same(node: fx.Node) -> fx.Node | None:
    """The operand that `node` returns unchanged; `None` if it changes its operands."""
    source: Any = None
    args: Any = node.args
    if node.target is aten.cat.default and len(args[0]) == 1:
        source = args[0][0]
    elif node.target in NEUTRAL and len(args) == 2:
        x, number = args
        # x + 0 changes only -0.0, to 0.0, which is equal to it.
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
