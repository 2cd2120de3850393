"""Rewrites the padding of max pooling with operators of the XNNPACK delegate, which has no PADV2."""

from __future__ import annotations

import numpy as np

from export.emit.tflite.graph import Graph, Op, Tensor, constant
from export.emit.tflite.shapes import JOINED_AT_ONCE


def pad_max_pools(graph: Graph) -> None:
    """Rewrites PADV2 -> MAX_POOL_2D: with PAD where the fill value is stored as 0 (in int8 the lowest value of a
    range that begins at 0), else by repeating the edge: a window over the edge contains those numbers already, so
    its maximum does not change."""
    consumers = graph.consumers()
    ops: list[Op] = []
    for op in graph.ops:
        if op.kind == "PADV2" and op.inputs[2].data is not None:
            if _is_zero(op):
                op.kind, op.inputs = "PAD", op.inputs[:2]
            elif _is_least(op) and all(reader.kind == "MAX_POOL_2D" for reader in consumers[op.output]):
                ops += _edges(op)
                continue
        ops.append(op)
    graph.ops = ops


def _is_zero(op: Op) -> bool:
    meaning, fill = op.output.quantization, op.inputs[2].data
    assert fill is not None
    return fill.item() == (0 if meaning is None else meaning.zero_point[0])


def _is_least(op: Op) -> bool:
    fill = op.inputs[2].data
    assert fill is not None
    range_of = np.iinfo if np.issubdtype(fill.dtype, np.integer) else np.finfo
    return fill.item() == range_of(fill.dtype).min


def _edges(op: Op) -> list[Op]:
    """Repeats the rows at both ends, then the columns; PADV2 if that would be too many for one concatenation."""
    x, amounts = op.inputs[0], op.inputs[1].data
    assert amounts is not None
    if any(1 + sum(pads) > JOINED_AT_ONCE for pads in amounts):
        return [op]
    ops: list[Op] = []
    for axis, pads in enumerate(amounts):
        if not any(pads):
            continue
        parts = [x]
        for end, times in enumerate(pads):
            if times:
                edge, cut = _slice(x, axis, last=bool(end), name=f"{op.output.name}/axis{axis}/end{end}")
                ops.append(cut)
                parts = [*parts, *[edge] * times] if end else [*[edge] * times, *parts]
        shape = tuple(size + sum(pads) * (at == axis) for at, size in enumerate(x.shape))
        whole = Tensor(f"{op.output.name}/axis{axis}", shape, x.dtype, quantization=x.quantization)
        ops.append(Op("CONCATENATION", parts, [whole], {"axis": axis}))
        x = whole
    ops[-1].outputs = op.outputs
    return ops


def _slice(x: Tensor, axis: int, *, last: bool, name: str) -> tuple[Tensor, Op]:
    begin, size = [0] * len(x.shape), list(x.shape)
    begin[axis], size[axis] = (x.shape[axis] - 1 if last else 0), 1
    edge = Tensor(name, tuple(size), x.dtype, quantization=x.quantization)
    return edge, Op("SLICE", [x, constant(f"{name}/begin", begin), constant(f"{name}/size", size)], [edge])
