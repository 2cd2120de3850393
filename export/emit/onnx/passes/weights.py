"""Passes over weights that are stored in fewer bits than float32 and computed with in float32.

Constant folding of ONNX Runtime expands them once, when the file is loaded, at no cost for float kernels. It does
not fold DequantizeLinear, which would expand every weight in every inference: 1.5 times the time of float for six
convolutions of 64 channels on 14 x 14 images, one x86-64 core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.emit.onnx.passes.graph import constant, initializer, nodes, parameters, source, take_place

if TYPE_CHECKING:
    import onnx_ir as ir

OPSET_INT4 = 21
"""Operator set in which Cast takes int4."""

_SMALL = 64
"""Smaller tensors stay float32: the node that casts a tensor takes as much space."""


def expand_integers_when_loading(model: ir.Model) -> int:
    """Rewrites the dequantization of integer weights so that constant folding evaluates it.

    Given: DQ of a stored int8 weight without zero points, one scale per channel or one for all.
    Result: Cast to float32 -> Mul by the scales; the weight is int4 if all its numbers are in -8..7, and the scales
    are float16 with a Cast if float16 represents them exactly, as those of groups.
    """
    import ml_dtypes
    import onnx_ir as ir

    count = 0
    for dequantize in nodes(model, "DequantizeLinear"):
        numbers = constant(source(dequantize))
        scale, zero_point = parameters(dequantize)
        if numbers is None or numbers.dtype != np.int8 or np.any(zero_point):
            continue
        if scale.ndim:
            axis = dequantize.attributes.get_int("axis", 1) % numbers.ndim
            scale = scale.reshape([-1 if i == axis else 1 for i in range(numbers.ndim)])
        if numbers.size and numbers.min() >= -8 and numbers.max() <= 7:
            numbers = numbers.astype(ml_dtypes.int4)
            model.opset_imports[""] = max(OPSET_INT4, model.opset_imports[""])
        name = source(dequantize).name
        weight = initializer(model, f"{name}_stored", numbers)
        cast = ir.node("Cast", [weight], {"to": ir.DataType.FLOAT}, name=f"{name}_cast")
        model.graph.insert_before(dequantize, cast)
        scales = _scales(model, f"{name}_scales", scale.astype(np.float32), before=dequantize)
        take_place(model, dequantize, ir.node("Mul", [cast.outputs[0], scales], name=f"{name}_expanded"))
        count += 1
    return count


def _scales(model: ir.Model, name: str, scale: np.ndarray, *, before: ir.Node) -> ir.Value:
    import onnx_ir as ir

    halves = _exact_halves(scale)
    if halves is None:
        return initializer(model, name, scale)
    cast = ir.node("Cast", [initializer(model, name, halves)], {"to": ir.DataType.FLOAT}, name=f"{name}_cast")
    model.graph.insert_before(before, cast)
    return cast.outputs[0]


def store_as_float16(model: ir.Model) -> int:
    """Stores weights in 16 bits where that is exact.

    Given: a float32 weight whose values are all float16 values.
    Result: the same as float16 -> Cast to float32.
    """
    import onnx_ir as ir

    count = 0
    for value in list(model.graph.initializers.values()):
        values = constant(value)
        halves = None if values is None or values.dtype != np.float32 else _exact_halves(values)
        if halves is None:
            continue
        stored = initializer(model, f"{value.name}_stored", halves)
        cast = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, name=f"{value.name}_cast")
        model.graph.insert_before(model.graph[0], cast)
        ir.convenience.replace_all_uses_with(value, cast.outputs[0])
        count += 1
    return count


def _exact_halves(values: np.ndarray) -> np.ndarray | None:
    """The values as float16; None if that changes one of them, or saves nothing."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    return halves if values.size >= _SMALL and np.array_equal(halves, values) else None
