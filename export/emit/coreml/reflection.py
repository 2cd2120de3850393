"""Restores reflection padding, which the lowered graph concatenates from slices, as one Core ML operator."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

aten = torch.ops.aten

Positions = tuple[int, ...]


def restore_reflection(graph: fx.Graph) -> None:
    """Replaces a concatenation of `x` and slices of it that mirror it along rows or columns with
    `reflection_pad2d(x)`. Int8 graphs round the slices as they round `x`, so no number changes."""
    for node in list(graph.nodes):
        if node.target is not aten.cat.default:
            continue
        parts: Any = node.args[0]
        value = node.meta["val"]
        dim = (node.args[1] if len(node.args) > 1 else 0) % value.dim()
        at = value.dim() - 1 - dim
        if at > 1 or value.dim() not in (3, 4):
            continue
        for x in parts:
            size = x.meta["val"].shape[dim]
            taken = _positions(node, x, dim)
            if taken is None or size < 2 or len(taken) == size:
                continue
            before = taken.index(0)
            if taken == _mirrored(size, before, len(taken) - size - before):
                amounts = [0, 0, 0, 0]
                amounts[2 * at : 2 * at + 2] = before, len(taken) - size - before
                with graph.inserting_before(node):
                    padded = graph.call_function(aten.reflection_pad2d.default, (x, amounts))
                padded.meta = dict(node.meta)
                node.replace_all_uses_with(padded, propagate_meta=False)
                break
    graph.eliminate_dead_code()


def _mirrored(size: int, before: int, after: int) -> Positions:
    if not (0 <= before < size and 0 <= after < size):
        return ()
    return (*range(before, 0, -1), *range(size), *range(size - 2, size - 2 - after, -1))


def _positions(node: Any, x: fx.Node, dim: int) -> Positions | None:
    """The indices of `x` along `dim` that a value holds, `None` if it holds others."""
    if node is x:
        return tuple(range(x.meta["val"].shape[dim]))
    if node.target is aten.cat.default and (node.args[1] if len(node.args) > 1 else 0) == dim:
        found = [_positions(part, x, dim) for part in node.args[0]]
        return None if None in found else tuple(place for part in found if part for place in part)
    if node.target is aten.slice.Tensor:
        inner = _positions(node.args[0], x, dim)
        given: list[Any] = list(node.args[1:])
        axis, *bounds = given + [0, None, None, 1][len(given) :]
        if inner is None or axis % node.meta["val"].dim() != dim:
            return None
        return inner[slice(*bounds)]
    if (
        "dequantize_per_tensor" in str(node.target)
        and node.args[1:] == x.args[1:]
        and node.target is x.target
    ):
        rounded = node.args[0]
        if "quantize_per_tensor" in str(rounded.target) and rounded.args[1:] == node.args[1:]:
            return _positions(rounded.args[0], x, dim)
    return None
