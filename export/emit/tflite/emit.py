"""Building blocks of the translations: values with a memory order, and `Emitter`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from export.emit.tflite.graph import Graph, Op, Quantization, Tensor, constant
from export.emit.tflite.layout import Order, identity, reshaped, same_memory, stored


@dataclass(frozen=True, eq=False)
class Value:
    """A torch value: the tensor that holds it and the order of its axes in memory (see `layout`).

    A constant with a `quantization` represents the dequantized numbers, not the int8 values.
    """

    tensor: Tensor
    order: Order

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in torch."""
        return tuple(self.tensor.shape[self.order.index(axis)] for axis in range(len(self.order)))

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.order)

    @property
    def is_constant(self) -> bool:
        """Whether the numbers are known at conversion."""
        return self.tensor.data is not None

    def axis(self, dim: int) -> int:
        """The axis in memory of torch's axis `dim` (which may count from the end)."""
        return self.order.index(dim % self.rank)


class Emitter:
    """Appends operators to a graph and names their results after the torch node being translated."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.node_name = ""

    def op(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        shape: Sequence[int],
        *,
        options: dict[str, Any] | None = None,
        dtype: str = "float32",
    ) -> Tensor:
        """Appends an operator with one output of `shape` (in memory order) and returns that output."""
        output = Tensor(f"{self.node_name}/{kind.lower()}", tuple(shape), dtype)
        self.graph.ops.append(Op(kind, list(inputs), [output], options or {}))
        return output

    def constant(
        self, data: np.ndarray | Sequence[int], *, quantization: Quantization | None = None
    ) -> Tensor:
        """A constant named after the current node."""
        return constant(f"{self.node_name}/constant", data, quantization=quantization)

    def place(self, value: Value, order: Order) -> Tensor:
        """`value` in `order`: its own tensor, a RESHAPE if only axes of length 1 move, or a TRANSPOSE."""
        if value.is_constant:
            return self._place_constant(value, order)
        if value.order == order:
            return value.tensor
        shape = stored(value.shape, order)
        if same_memory(value.shape, value.order, order):
            return self.reshape_memory(value.tensor, shape)
        moves = self.constant([value.order.index(axis) for axis in order])
        return self.op("TRANSPOSE", [value.tensor, moves], shape, dtype=value.tensor.dtype)

    def _place_constant(self, value: Value, order: Order) -> Tensor:
        assert value.tensor.data is not None
        moves = [value.order.index(axis) for axis in order]
        data = value.tensor.data.transpose(moves)
        quantization = value.tensor.quantization
        if quantization is None:
            return constant(value.tensor.name, data)
        if quantization.axis is not None:
            axis = moves.index(quantization.axis)
            quantization = replace(quantization, axis=axis)
        weight = constant(value.tensor.name, data, quantization=quantization)
        return self.op("DEQUANTIZE", [weight], weight.shape)

    def reshape_memory(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """The same bytes with another shape."""
        return self.op(
            "RESHAPE",
            [tensor, self.constant(list(shape))],
            shape,
            options={"newShape": list(shape)},
            dtype=tensor.dtype,
        )

    def reshape(self, value: Value, shape: Sequence[int]) -> Value:
        """`value.reshape(shape)` as in torch; transposes first if the memory order requires it."""
        if tuple(shape) == value.shape:
            return value
        order = reshaped(value.shape, value.order, shape)
        if value.is_constant and (known := _reshaped_constant(value, shape)) is not None:
            return known
        if order is None:
            value, order = (
                Value(self.place(value, identity(value.rank)), identity(value.rank)),
                identity(len(shape)),
            )
        tensor = self.place(value, value.order)
        return Value(self.reshape_memory(tensor, stored(shape, order)), order)

    def pad(self, tensor: Tensor, pads: Sequence[tuple[int, int]], *, fill: float = 0.0) -> Tensor:
        """`tensor` with (before, after) entries of `fill` on each axis in memory; itself if there are none."""
        if not any(before or after for before, after in pads):
            return tensor
        shape = [size + before + after for size, (before, after) in zip(tensor.shape, pads, strict=True)]
        amounts = self.constant(np.asarray(pads, np.int32))
        if fill == 0.0:
            return self.op("PAD", [tensor, amounts], shape, dtype=tensor.dtype)
        lowest = float(np.finfo(np.float32).min)
        value = self.constant(np.asarray([max(fill, lowest)], tensor.dtype))
        return self.op("PADV2", [tensor, amounts, value], shape, dtype=tensor.dtype)


def _reshaped_constant(value: Value, shape: Sequence[int]) -> Value | None:
    """A constant with another shape; `None` if the axis with scales is not an axis of that shape, or has groups."""
    assert value.tensor.data is not None
    meaning = value.tensor.quantization
    if meaning is not None and meaning.groups > 1:
        return None
    if meaning is not None and meaning.axis is not None:
        axis = value.order[meaning.axis]
        part = (math.prod(value.shape[:axis]), value.shape[axis])
        kept = [at for at, size in enumerate(shape) if (math.prod(shape[:at]), size) == part]
        if not kept:
            return None
        meaning = replace(meaning, axis=kept[0])
    data = value.tensor.data.transpose([value.order.index(axis) for axis in range(value.rank)])
    tensor = constant(value.tensor.name, data.reshape(shape), quantization=meaning)
    return Value(tensor, identity(len(shape)))


def elements(value: Value) -> int:
    """Number of elements."""
    return math.prod(value.tensor.shape)
