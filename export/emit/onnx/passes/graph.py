"""Functions that read and change an ONNX graph, shared by the passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir


def nodes(model: ir.Model, *op_types: str) -> list[ir.Node]:
    """The nodes of these types, in the order of the graph, as a new list."""
    return [node for node in model.graph if node.op_type in op_types]


def source(node: ir.Node) -> ir.Value:
    """The first input of a node, which must have one."""
    first = node.inputs[0]
    assert first is not None, f"{node.op_type} {node.name!r} has no input"
    return first


def static_shape(value: ir.Value) -> tuple[int, ...]:
    """The static shape of a value."""
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        raise ValueError(
            f"value {value.name!r} has no static shape ({value.shape}); capture the graph for one clip"
        )
    return tuple(int(size) for size in value.shape)  # type: ignore[arg-type]


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The constant behind a value, `None` if it is computed from an input."""
    if value is None or value.is_graph_input() or value.const_value is None:
        return None
    return value.const_value.numpy()


def parameters(node: ir.Node) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of a Q or DQ node."""
    scale, zero_point = (constant(value) for value in node.inputs[1:3])
    if scale is None or zero_point is None:
        raise ValueError(f"{node.op_type} {node.name!r}: scale and zero point must both be constants")
    return scale, zero_point


def is_per_tensor(node: ir.Node) -> bool:
    """Whether a Q or DQ node has one scale for all values."""
    return parameters(node)[0].ndim == 0


def same_parameters(one: ir.Node, other: ir.Node) -> bool:
    """Whether two Q or DQ nodes have the same scale, zero point and integer type."""
    (scale, zero_point), (other_scale, other_zero_point) = parameters(one), parameters(other)
    same_type = zero_point.dtype == other_zero_point.dtype
    return same_type and np.array_equal(scale, other_scale) and np.array_equal(zero_point, other_zero_point)


def readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that use the value; none if it is an output of the graph."""
    return [] if value.is_graph_output() else list(value.consumers())


def read_once(value: ir.Value) -> bool:
    """Whether exactly one node, and no output, uses the value."""
    return len(readers(value)) == 1


def initializer(model: ir.Model, name: str, values: np.ndarray) -> ir.Value:
    """Adds a constant under a new name."""
    import onnx_ir as ir

    if name in model.graph.initializers:
        raise ValueError(f"two initializers would be named {name!r}: node names in this graph are not unique")
    tensor = ir.tensor(values, name=name)
    value = ir.Value(
        name=name, const_value=tensor, shape=ir.Shape(values.shape), type=ir.TensorType(tensor.dtype)
    )
    model.graph.register_initializer(value)
    return value


def take_place(model: ir.Model, old: ir.Node, new: ir.Node) -> None:
    """Replaces `old` with `new`, whose only output takes the name, type and consumers of the old one."""
    import onnx_ir as ir

    ir.convenience.replace_nodes_and_values(model.graph, old, [old], [new], old.outputs, new.outputs)


def bypass(model: ir.Model, node: ir.Node, value: ir.Value) -> None:
    """Removes `node` and connects its consumers to `value`."""
    import onnx_ir as ir

    ir.convenience.replace_all_uses_with(node.outputs[0], value, replace_graph_outputs=True)
    model.graph.remove(node, safe=True)
