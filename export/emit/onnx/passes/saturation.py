"""Finds int8 layers that can saturate on x86 processors without VNNI instructions.

Without VNNI ONNX Runtime multiplies uint8 activations with int8 weights by `vpmaddubsw`, which adds two
neighbouring products in 16 bits and saturates: 255 * (w1 + w2) does not fit for weights from 65 on. This holds for
convolutions (QLinearConv, the symmetric kernels too), linear layers (QGemm, QLinearMatMul, MatMulInteger) and their
form for one row. Depthwise kernels widen first and are exact, as are VNNI, ARM, and kernels of two uint8 operands.
`export.emit.onnx.session` makes ONNX Runtime use the latter, which are slower, on these processors.

Source: onnxruntime/core/mlas/lib, `x86_64/QgemmU8X8KernelAvx2.S`, `x86_64/ConvSymKernelAvx2.S`, `platform.cpp`,
`convsym.cpp` (order of weights); core/providers/cpu/quantization/qlinearconv.cc.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from export.emit.onnx.passes.graph import constant, nodes

if TYPE_CHECKING:
    import onnx_ir as ir

EXACT = ("session.x64quantprecision", "1")
"""The session option that makes integer products exact on x86 processors without VNNI: int8 weights run as uint8.

ONNX Runtime 1.31 obeys it on every x86 processor with AVX2; with VNNI it only costs time. Tensors of weights in
-64..64 stay int8. Source: `MlasPlatformU8S8Overflow`, `Int8TensorProto2Uint8` of ONNX Runtime.
"""

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


def needs(saturating: Sequence[str], *, layers: int) -> str | None:
    """What a processor or an application must provide for exact outputs; None if every one is exact."""
    if not saturating:
        return None
    return (
        "a processor with VNNI (AVX-512 VNNI or AVX-VNNI) or ARM; on other x86 processors the session option "
        f'{EXACT[0]} = "{EXACT[1]}", without which {len(saturating)} of {layers} layers can saturate in 16 bits '
        "and give other outputs"
    )


def _can_saturate(node: ir.Node) -> bool:
    producers = [value.producer() if value is not None else None for value in node.inputs[:2]]
    if any(producer is None or producer.op_type != "DequantizeLinear" for producer in producers):
        return False
    read = producers[1]
    assert read is not None
    weight = constant(read.inputs[0])
    zero_point = constant(read.inputs[2]) if len(read.inputs) > 2 else None
    if any(one is not None and one.dtype == np.uint8 for one in (weight, zero_point)):
        return False  # multiplied by kernels that widen first
    if weight is None:
        return True  # a product of two activations
    if node.op_type == "Conv":
        is_depthwise = node.attributes.get_int("group", 1) == len(weight) > weight.shape[1] == 1
        # Windows are flattened position by position, with the channels of a position adjacent.
        return not is_depthwise and can_saturate(np.moveaxis(weight, 1, -1).reshape(len(weight), -1))
    if node.op_type == "Gemm" and node.attributes.get_int("transB", False):
        return can_saturate(weight)
    return can_saturate(np.moveaxis(weight, -2, -1).reshape(-1, weight.shape[-2]))
