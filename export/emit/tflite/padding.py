"""Padding of max pooling, written with operators that the XNNPACK delegate takes: it has no PADV2."""

from __future__ import annotations

import numpy as np

from export.emit.tflite.graph import Graph, Op, Tensor, constant
from export.emit.tflite.shapes import JOINED_AT_ONCE


def pad_max_pools(graph: Graph) -> None:
    """Given PADV2 -> MAX_POOL_2D, the padding is PAD where its number is what 0 is stored as (in int8 the least one
    of a range that begins at 0), else the numbers at the edge once more: a window that reaches over the edge holds
    those already, and its maximum stays what it was."""
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
    """The rows at both ends once more, then the columns; PADV2 where that would be more than is joined at once."""
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
