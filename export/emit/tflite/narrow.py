"""Reshapes images with few channels so that XNNPACK works on long rows."""

from __future__ import annotations

import numpy as np

from export.emit.tflite.graph import Graph, Op, Tensor, constant, reshape

FEW = 4
"""Channels up to which pixels are grouped; an operator that broadcasts over rows of three numbers takes ten times
as long as one over rows of fifty."""

_LONGEST_ROW = 128


def lengthen_rows(graph: Graph) -> None:
    """Applies MUL or ADD of an image N H W C and one number per channel to rows of several pixels."""
    ops: list[Op] = []
    for op in graph.ops:
        ops += _on_rows(op) if op.kind in ("MUL", "ADD") else [op]
    graph.ops = ops


def _on_rows(op: Op) -> list[Op]:
    image, numbers = sorted(op.inputs, key=lambda tensor: tensor.data is not None)
    if numbers.data is None or len(image.shape) != 4 or image.shape != op.output.shape:
        return [op]
    channels = image.shape[3]
    if numbers.data.shape != (1, 1, 1, channels) or not 1 < channels <= FEW:
        return [op]
    pixels = int(np.prod(image.shape[:3]))
    side_by_side = max(n for n in range(1, _LONGEST_ROW // channels + 1) if pixels % n == 0)
    shape = (pixels // side_by_side, side_by_side * channels)
    rows, result = (Tensor(f"{op.output.name}/{part}", shape, "float32") for part in ("rows", "row results"))
    repeated = constant(numbers.name, np.tile(numbers.data.reshape(1, channels), (1, side_by_side)))
    return [
        reshape(image, rows),
        Op(op.kind, [rows, repeated], [result], op.options),
        reshape(result, op.output),
    ]
