"""Weights in fewer bits than float32, in the forms that LiteRT runs fast.

The XNNPACK delegate expands a DEQUANTIZE of float16 or int8 weights once, when it loads a file: it costs nothing.
Not so int4, whose DEQUANTIZE would run in every inference, outside the delegate (2.1 times the time of float on a
3D MobileNet, one x86-64 core). It has int4 kernels for FULLY_CONNECTED, which round each row of activations to int8
while running (0.6 to 0.9 times the time of float there); a pointwise convolution is such an operator. For other
convolutions the runtime has int4 kernels of its own, which round each picture.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.emit.tflite.graph import Graph, Op, Tensor, constant

_SMALL = 64
"""Below so many values a tensor is left in float32: another operator takes as much space."""


def store_as_float16(graph: Graph) -> None:
    """Given a float32 constant whose values are all float16 values, the result is DEQUANTIZE of a float16 one."""
    read: dict[Tensor, Op] = {}
    for op in graph.ops:
        for index, tensor in enumerate(op.inputs):
            if tensor not in read and _is_float16(tensor):
                assert tensor.data is not None
                halves = constant(f"{tensor.name}/half", tensor.data.astype(np.float16))
                read[tensor] = Op("DEQUANTIZE", [halves], [Tensor(tensor.name, tensor.shape, "float32")])
            if tensor in read:
                op.inputs[index] = read[tensor].output
    graph.ops[:0] = read.values()


def _is_float16(tensor: Tensor) -> bool:
    if tensor.data is None or tensor.dtype != "float32" or tensor.data.size < _SMALL:
        return False
    with np.errstate(over="ignore"):
        return np.array_equal(tensor.data, tensor.data.astype(np.float16))


def use_int4(graph: Graph) -> None:
    """Given DEQUANTIZE of weights within -8..7 -> convolution or linear layer, that layer reads int4 weights."""
    producers = graph.producers()
    for op in graph.ops:
        source = producers.get(op.inputs[1]) if op.kind in ("CONV_2D", "FULLY_CONNECTED") else None
        weight = source.inputs[0] if source is not None and source.kind == "DEQUANTIZE" else None
        if weight is None or weight.data is None or weight.data.min() < -8 or weight.data.max() > 7:
            continue
        op.inputs[1] = replace(weight, dtype="int4")
        if _is_pointwise(op, weight):
            out_channels, _, _, in_channels = weight.shape
            data = weight.data.reshape(out_channels, in_channels)
            op.inputs[1] = replace(weight, dtype="int4", shape=data.shape, data=data)
            fused = op.options.get("fusedActivationFunction", "NONE")
            op.kind, op.options = "FULLY_CONNECTED", {"keepNumDims": True, "fusedActivationFunction": fused}
    graph.remove_unread()


def _is_pointwise(op: Op, weight: Tensor) -> bool:
    """Whether a convolution reads one position for each that it gives."""
    return (
        op.kind == "CONV_2D" and weight.shape[1:3] == (1, 1) and op.inputs[0].shape[:3] == op.output.shape[:3]
    )
