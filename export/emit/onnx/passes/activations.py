"""Passes over activations: clamps absorbed by ranges, and the integer type and pooling with fast kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.emit.onnx.passes.graph import (
    constant,
    initializer,
    is_per_tensor,
    nodes,
    parameters,
    source,
    static_shape,
    take_place,
)

if TYPE_CHECKING:
    import onnx_ir as ir


def pool_by_average(model: ir.Model) -> int:
    """Replaces the mean over rows and columns with an operator that has an integer kernel.

    Given: ReduceMean over axes (2, 3) of a rank-4 value, keepdims = 1.
    Result: GlobalAveragePool.
    """
    import onnx_ir as ir

    count = 0
    for node in nodes(model, "ReduceMean"):
        values = source(node)
        axes = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if axes is None or len(static_shape(values)) != 4 or not node.attributes.get_int("keepdims", 1):
            continue
        if sorted(int(axis) % 4 for axis in axes) != [2, 3]:
            continue
        pool = ir.node("GlobalAveragePool", [values], name=node.name)
        take_place(model, node, pool)
        count += 1
    return count


def absorb_clamps(model: ir.Model) -> int:
    """Removes clamps that the saturation of Q implies.

    Given: X -> Relu or Clip -> Q, where the clamp's bounds quantize to the ends of Q's range or beyond, so that
    saturation gives the same integers.
    Result: X -> Q.
    """
    count = 0
    for quantize in nodes(model, "QuantizeLinear"):
        clamp = source(quantize).producer()
        if clamp is None or clamp.op_type not in ("Relu", "Clip") or not is_per_tensor(quantize):
            continue
        low, high = _bounds(clamp)
        scale, zero_point = parameters(quantize)
        limits = np.iinfo(zero_point.dtype)
        lowest = np.rint(low / float(scale)) + int(zero_point)
        highest = np.rint(high / float(scale)) + int(zero_point)
        if lowest <= limits.min and highest >= limits.max:
            quantize.replace_input_with(0, clamp.inputs[0])
            count += 1
    return count


def shift_to_uint8(model: ir.Model) -> int:
    """Stores activations as uint8, for which x86 has fast kernels; the same numbers, shifted by 128.

    Given: Q and DQ of activations with an int8 zero point, and Pad of int8 activations with one.
    Result: the same with a uint8 zero point, 128 higher. Weights stay int8.
    """
    import onnx_ir as ir

    count = 0
    for node in nodes(model, "QuantizeLinear", "DequantizeLinear", "Pad"):
        zero_point = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        if zero_point is None or zero_point.dtype != np.int8 or _is_weight(node):
            continue
        shifted = initializer(
            model, f"{node.name}_zero_point", (zero_point.astype(np.int16) + 128).astype(np.uint8)
        )
        node.replace_input_with(2, shifted)
        count += 1
    for value in (output for node in model.graph for output in node.outputs):
        if value.dtype == ir.DataType.INT8:
            value.dtype = ir.DataType.UINT8
    return count


def _bounds(clamp: ir.Node) -> tuple[float, float]:
    """Lower and upper bound of a Relu or Clip node; infinite if absent or computed."""
    if clamp.op_type == "Relu":
        return 0.0, np.inf
    low, high = (clamp.inputs[i] if i < len(clamp.inputs) else None for i in (1, 2))
    low_constant, high_constant = constant(low), constant(high)
    # A computed bound could be anything: reversed infinities make every "implied by the range" test fail.
    lower = -np.inf if low is None else np.inf if low_constant is None else float(low_constant)
    upper = np.inf if high is None else -np.inf if high_constant is None else float(high_constant)
    return lower, upper


def _is_weight(node: ir.Node) -> bool:
    """Whether a Q or DQ node works on a stored constant."""
    values = source(node)
    before = values.producer()
    if before is not None and before.op_type == "QuantizeLinear":
        values = source(before)
    return constant(values) is not None
