"""Stores weights in the form for which ONNX Runtime can be exact on x86 processors without VNNI.

Without VNNI it multiplies uint8 activations by int8 weights with `vpmaddubsw`, which saturates in 16 bits. With the
session option `session.x64quantprecision` = "1" it converts weights to uint8 while it loads the file; their kernels
are exact. ONNX Runtime 1.31 names the converted constants after the original, and refuses a file in which two
layers share one. Source: `Avx2WeightS8ToU8Transformer` of ONNX Runtime.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.emit.onnx.passes.graph import constant, initializer, nodes, parameters, readers

if TYPE_CHECKING:
    import onnx_ir as ir


def separate_weights(model: ir.Model) -> int:
    """Gives every layer its own copy of a constant that ONNX Runtime replaces.

    Given: DQ of constant int8 weights.
    Result: the same with a separate zero point. Weights that several layers share, as the steps of an LSTM do, are
    stored once, as uint8 around 128: exact on every processor.
    """
    count = 0
    reading: dict[ir.Value, list[ir.Node]] = {}
    for node in nodes(model, "DequantizeLinear"):
        weights = node.inputs[0]
        stored = constant(weights)
        if weights is not None and stored is not None and stored.dtype == np.int8 and stored.ndim > 1:
            reading.setdefault(weights, []).append(node)
    for weights, dequantizes in reading.items():
        stored, layers = constant(weights), sum(len(readers(node.outputs[0])) for node in dequantizes)
        assert stored is not None
        if layers > 1:
            name = f"{weights.name}_uint8"
            weights = initializer(model, name, (stored.astype(np.int16) + 128).astype(np.uint8))
        for number, node in enumerate(dequantizes):
            _, zero_point = parameters(node)
            if layers > 1:
                zero_point = (zero_point.astype(np.int16) + 128).astype(np.uint8)
            node.replace_input_with(0, weights)
            name = f"{weights.name}_zero_point" + (f"_{number}" if number else "")
            node.replace_input_with(2, initializer(model, name, zero_point))
            count += 1
    return count
