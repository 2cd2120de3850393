"""Values of any rank: nodes of rank 4 and below that hold a value of the captured graph in row-major order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, fx

from export.lower.volume import Volume, shape_in
from export.lower.writer import Writer


@dataclass(frozen=True, eq=False)
class Block:
    """A value of rank 6 and above; `node` holds its numbers in row-major order."""

    shape: tuple[int, ...]
    node: fx.Node


Value = fx.Node | Volume | Block
"""Type of a computed value: a node up to rank 4, a `Volume` at rank 5, a `Block` above."""


def shape_of(value: Value | Tensor) -> tuple[int, ...]:
    """Shape in the captured graph."""
    return tuple(value.meta["val"].shape if isinstance(value, fx.Node) else value.shape)


def row_major(value: Value) -> fx.Node:
    """The node that holds the numbers of `value` in row-major order."""
    if isinstance(value, Volume):
        return value["plane"]
    return value.node if isinstance(value, Block) else value


def held(writer: Writer, node: fx.Node, shape: Sequence[int], *, name: str) -> Value:
    """The value of `shape` with the numbers of `node`, in row-major order."""
    shape = tuple(shape)
    if len(shape) > 5:
        return Block(shape, node)
    if len(shape) < 5:
        return writer.reshape(node, shape, name=name)
    n, c, t, h, w = shape
    plane = writer.reshape(node, shape_in("plane", shape), name=name)
    return Volume(writer, (n, c, t, h, w), "plane", plane)
