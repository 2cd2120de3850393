"""Finds int8 layers that can saturate on x86 processors without VNNI instructions.

Without VNNI ONNX Runtime multiplies uint8 activations with int8 weights by `vpmaddubsw`, which adds two
neighbouring products in 16 bits and saturates: 255 * (w1 + w2) does not fit for weights from 65 on. Depthwise
kernels widen first and are exact, as are VNNI and ARM. `export.emit.onnx.session` makes ONNX Runtime use exact,
slower kernels on these processors. Source: `onnxruntime/core/mlas/lib/qgemm_kernel_avx2.cpp`,
`onnxruntime_session_options_config_keys.h`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.emit.onnx.passes.graph import constant, nodes

if TYPE_CHECKING:
    import onnx_ir as ir

_LARGEST_ACTIVATION = 255
_LIMITS = (-(2**15), 2**15 - 1)


def can_saturate(rows: np.ndarray) -> bool:
    """Whether two neighbouring products of any activations with `rows` exceed 16 bits.

    `rows` are integer weights, one row per output in the order of accumulation; neighbours are the indices 0 and 1,
    2 and 3, and so on.
    """
    rows = rows.astype(np.int64)
    if rows.shape[1] % 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    first, second = rows[:, 0::2], rows[:, 1::2]
    # Activations are any values in 0..255, so a weight counts only if it enlarges the sum.
    highest = _LARGEST_ACTIVATION * (np.maximum(first, 0) + np.maximum(second, 0))
    lowest = _LARGEST_ACTIVATION * (np.minimum(first, 0) + np.minimum(second, 0))
    return bool((highest > _LIMITS[1]).any() or (lowest < _LIMITS[0]).any())


def layers_that_can_saturate(model: ir.Model) -> tuple[str, ...]:
    """Names of the layers of an int8 model whose weights do not rule out saturation."""
    return tuple(str(node.name) for node in nodes(model, "Conv", "Gemm", "MatMul") if _can_saturate(node))


def _can_saturate(node: ir.Node) -> bool:
    producers = [value.producer() if value is not None else None for value in node.inputs[:2]]
    if any(producer is None or producer.op_type != "DequantizeLinear" for producer in producers):
        return False
    read = producers[1]
    assert read is not None
    weight = constant(read.inputs[0])
    if weight is None:
        return True  # a product of two activations
    if weight.dtype == np.uint8:
        return False  # multiplied by kernels that widen first
    if node.op_type == "Conv":
        is_depthwise = weight.shape[1] == 1 and node.attributes.get_int("group", 1) > 1
        # Windows are flattened position by position, with the channels of a position adjacent.
        return not is_depthwise and can_saturate(np.moveaxis(weight, 1, -1).reshape(len(weight), -1))
    if node.op_type == "Gemm" and node.attributes.get_int("transB", False):
        return can_saturate(weight)
    return can_saturate(np.moveaxis(weight, -2, -1).reshape(-1, weight.shape[-2]))
