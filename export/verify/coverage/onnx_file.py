"""A written ONNX file: its layers with their multiply-adds, and their places in the source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

from export.verify.coverage.places import place_of

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

_STACK_TRACE = "pkg.torch.onnx.stack_trace"
"""Property in which torch's exporter stores the stack trace of every node."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """An ONNX graph with the queries of the coverage report."""

    model: onnx.ModelProto

    @property
    def nodes(self) -> Iterable[onnx.NodeProto]:
        """In order of execution."""
        return self.model.graph.node

    @cached_property
    def makers(self) -> dict[str, onnx.NodeProto]:
        """The node that computes each value."""
        return {value: node for node in self.nodes for value in node.output if value}

    @cached_property
    def readers(self) -> dict[str, list[onnx.NodeProto]]:
        """The nodes that use each value."""
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for value in node.input:
                found.setdefault(value, []).append(node)
        return found

    @cached_property
    def constants(self) -> dict[str, Shape]:
        """Shapes of the stored tensors."""
        return {tensor.name: tuple(tensor.dims) for tensor in self.model.graph.initializer}

    @cached_property
    def inputs(self) -> frozenset[str]:
        """Inputs of the graph."""
        return frozenset(value.name for value in self.model.graph.input)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of all values, inputs included; every axis must be known."""
        from onnx import shape_inference

        graph = shape_inference.infer_shapes(self.model, data_prop=True).graph
        values = [*graph.value_info, *graph.input, *graph.output]
        known = {v.name: tuple(axis.dim_value for axis in v.type.tensor_type.shape.dim) for v in values}
        return {**known, **self.constants}


def places_in(model: ir.Model, *, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Name of a value or node -> the user's line, from torch's stack traces.

    A node without a trace, added by a pass, has its place in `known`, or else the place of its first input that
    has one.
    """
    found = dict(known or {})
    for node in model.graph:
        place = place_of(node.metadata_props.get(_STACK_TRACE))
        sources = (*node.outputs, *(value for value in node.inputs if value is not None))
        inherited = (found[value.name] for value in sources if value.name in found)
        place = place or next(inherited, None)
        if place is not None:
            names = (node.name, *(value.name for value in node.outputs))
            found.update({name: place for name in names if name})
    return found


def macs(node: onnx.NodeProto, graph: Graph) -> int:
    """Multiply-adds of a node of a written file, 0 for operators that are not counted.

    Raises KeyError if the shape of one of its values is not known.
    """
    return _COUNTS[node.op_type](node, graph.shapes) if node.op_type in _COUNTS else 0


def _convolution(node: onnx.NodeProto, shapes: dict[str, Shape]) -> int:
    """Weights O I and the kernel: every output value sums over them."""
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])


def _transposed(node: onnx.NodeProto, shapes: dict[str, Shape]) -> int:
    """Weights I O and the kernel: every value is multiplied with them."""
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _product(node: onnx.NodeProto, shapes: dict[str, Shape]) -> int:
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: onnx.NodeProto, shapes: dict[str, Shape]) -> int:
    """A matrix product; the first operand may be transposed."""
    return prod(shapes[node.input[0]]) * shapes[node.output[0]][1]


def _blocked_product(node: onnx.NodeProto, shapes: dict[str, Shape]) -> int:
    """A product with weights of few bits, whose stored shape is packed."""
    return prod(shapes[node.input[0]]) * next(a.i for a in node.attribute if a.name == "N")


def _recurrent(node: onnx.NodeProto, shapes: dict[str, Shape]) -> int:
    """Values T N I; weights for inputs and for states, of all directions."""
    steps = prod(shapes[node.input[0]][:2])
    return steps * (prod(shapes[node.input[1]]) + prod(shapes[node.input[2]]))


_COUNTS: dict[str, Callable[[onnx.NodeProto, dict[str, Shape]], int]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gemm": _gemm,
    "MatMul": _product,
    "MatMulNBits": _blocked_product,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
"""By operator, for what our writer writes: int8 files hold these operators between Q/DQ pairs."""
