"""A LiteRT graph in memory: tensors, operators and queries for the passes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

CLAMPS = ("RELU", "RELU6", "RELU_N1_TO_1")
"""Clamps that other operators can fuse as their activation."""


@dataclass(frozen=True)
class Quantization:
    """Meaning of an int8 number: `scale * (number - zero_point)`.

    One scale for the whole tensor (`axis` is None), one for each index along the physical `axis`, or several for
    each of them: one for each of `groups` equal parts of its entries, in order.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None
    groups: int = 1

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """`values` as int8 numbers: round half to even, saturate at -128 and 127."""
        shape = [1] * values.ndim
        if self.axis is not None:
            shape[self.axis] = len(self.scale)
        scale = np.asarray(self.scale, np.float32).reshape(shape if self.axis is not None else ())
        zero_point = np.asarray(self.zero_point).reshape(scale.shape)
        with np.errstate(over="ignore"):  # a large negative number becomes minus infinity
            return np.clip(np.rint(values / scale) + zero_point, -128, 127).astype(np.int8)


@dataclass(eq=False)
class Tensor:
    """A value in memory order; `data` is set for constants. Compared by identity."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: np.ndarray | None = None
    quantization: Quantization | None = None


@dataclass(eq=False)
class Op:
    """One LiteRT builtin operator, such as `CONV_2D`; `options` are fields of its options table in the schema."""

    kind: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> Tensor:
        """The first output, usually the only one."""
        return self.outputs[0]


@dataclass
class Graph:
    """Operators in order of execution, with the graph's input and output tensors."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    """The user's source line for names of torch nodes and of outputs; tensors are named after those nodes."""

    def producers(self) -> dict[Tensor, Op]:
        """The operator that computes each tensor."""
        return {tensor: op for op in self.ops for tensor in op.outputs}

    def consumers(self) -> dict[Tensor, list[Op]]:
        """The operators that use each tensor, once per use; graph outputs are not counted."""
        found: dict[Tensor, list[Op]] = {}
        for op in self.ops:
            for tensor in op.inputs:
                found.setdefault(tensor, []).append(op)
        return found

    def replace(self, old: Tensor, new: Tensor) -> None:
        """Replaces `old` with `new` in every consumer and in the outputs."""
        for op in self.ops:
            op.inputs = [new if tensor is old else tensor for tensor in op.inputs]
        self.outputs = [new if tensor is old else tensor for tensor in self.outputs]

    def counts(self) -> Counter[str]:
        """Number of operators of each kind."""
        return Counter(op.kind for op in self.ops)

    def remove_unread(self) -> None:
        """Drops operators whose results are not used."""
        read = set(self.outputs)
        kept: list[Op] = []
        for op in reversed(self.ops):
            if any(tensor in read for tensor in op.outputs):
                read.update(op.inputs)
                kept.append(op)
        self.ops = kept[::-1]


def constant(
    name: str, data: np.ndarray | Sequence[int], *, quantization: Quantization | None = None
) -> Tensor:
    """A constant tensor; a sequence of integers becomes int32, the type of LiteRT's shapes and axes."""
    # Arithmetic on an array without axes returns a NumPy scalar, which has its own type.
    array = np.asarray(data, None if isinstance(data, np.ndarray | np.generic) else np.int32)
    data_in_order = np.ascontiguousarray(array).reshape(array.shape)  # NumPy adds an axis to scalars here
    return Tensor(name, array.shape, array.dtype.name, data_in_order, quantization)


def reshape(source: Tensor, target: Tensor) -> Op:
    """RESHAPE from `source` to `target`."""
    sizes = constant(f"{target.name}/shape", list(target.shape))
    return Op("RESHAPE", [source, sizes], [target], {"newShape": list(target.shape)})
