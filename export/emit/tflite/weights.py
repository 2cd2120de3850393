"""Stores weights in fewer bits than float32, in the forms that LiteRT runs fast.

The XNNPACK delegate expands a DEQUANTIZE of float16 or int8 weights once, when it loads a file, at no cost for
inference. A DEQUANTIZE of int4 would run in every inference, outside the delegate (2.1 times the time of float on a
3D MobileNet, one x86-64 core). The delegate has int4 kernels for FULLY_CONNECTED, which round each row of
activations to int8 at run time (0.6 to 0.9 times the time of float there), and for pointwise convolutions written
as such. For other convolutions the runtime itself has int4 kernels, which round each image.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.emit.tflite.graph import Graph, Op, Tensor, constant

_SMALL = 64
"""Smaller tensors stay float32: another operator takes as much space."""


def store_as_float16(graph: Graph) -> None:
    """Replaces a float32 constant whose values are all float16 values with DEQUANTIZE of a float16 one."""
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
    """Replaces DEQUANTIZE of weights within -8..7 before a convolution or linear layer with int4 weights."""
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
    """Whether each output position of a convolution depends on one input position."""
    return (
        op.kind == "CONV_2D" and weight.shape[1:3] == (1, 1) and op.inputs[0].shape[:3] == op.output.shape[:3]
    )
