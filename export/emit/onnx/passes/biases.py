"""Passes over biases: int32, in the units of the integer kernels' accumulators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from export.emit.onnx.passes.graph import constant, initializer, nodes, parameters

if TYPE_CHECKING:
    import onnx_ir as ir


_INT32_LIMIT = 2**31 - 1


def widen_scales_for_biases(model: ir.Model) -> int:
    """Keeps the int32 bias in range for channels whose weights are (almost) zero.

    Given: Conv or Gemm on DQ'd input and weights, with a bias that is above 2^31 in units of
    input scale x weight scale (a pruned or dead channel: tiny weights, ordinary bias).
    Result: that channel's weight scale is widened until the bias takes 30 bits, and its weights are rounded
    to the new scale, which changes the output by less than the bias's float32 rounding times the fan-in.
    """
    count = 0
    for node in nodes(model, "Conv", "Gemm"):
        found = _quantized_with_bias(node)
        if found is None:
            continue
        input_scale, weight_dq, bias = found
        scale, zero_point = parameters(weight_dq)
        weights = constant(weight_dq.inputs[0])
        if weights is None or np.any(zero_point):
            continue
        too_large = np.abs(bias) > _INT32_LIMIT * input_scale * scale.astype(np.float64)
        if not np.any(too_large):
            continue
        needed = np.abs(bias) / (2.0**30 * input_scale)
        needed = needed if scale.ndim else np.max(needed)
        wider = np.maximum(scale, needed).astype(np.float32)
        axis = weight_dq.attributes.get_int("axis", 1) % weights.ndim
        ratio = np.asarray(scale / wider)
        shape = [-1 if i == axis else 1 for i in range(weights.ndim)] if ratio.ndim else []
        rounded = np.rint(weights * ratio.reshape(shape)).astype(weights.dtype)
        weight_dq.replace_input_with(0, initializer(model, f"{node.name}_weights", rounded))
        weight_dq.replace_input_with(1, initializer(model, f"{node.name}_weight_scale", wider))
        count += int(np.sum(too_large))
    return count


def quantize_biases(model: ir.Model) -> int:
    """Stores biases in the type of the integer kernels' accumulators.

    Given: Conv or Gemm on DQ'd input and weights, with a float bias.
    Result: the bias as int32 in units of input scale x weight scale, behind a DQ.
    """
    import onnx_ir as ir

    count = 0
    for node in nodes(model, "Conv", "Gemm"):
        found = _quantized_with_bias(node)
        if found is None:
            continue
        input_scale, weight_dq, bias = found
        scale = np.broadcast_to(parameters(weight_dq)[0] * np.float32(input_scale), bias.shape)
        steps = np.rint(bias / scale.astype(np.float64))
        if np.any(np.abs(steps) > _INT32_LIMIT):
            raise ValueError(
                f"{node.op_type} {node.name!r}: its bias (up to {np.abs(bias).max():.3g}) does not fit int32 in "
                f"units of input scale x weight scale (down to {scale.min():.3g}), and its weights are not "
                "symmetric int8 constants whose scale could be widened; calibrate again or keep this layer in float"
            )
        integers = initializer(model, f"{node.name}_bias", steps.astype(np.int32))
        scales = initializer(model, f"{node.name}_bias_scale", np.ascontiguousarray(scale, dtype=np.float32))
        zeros = initializer(model, f"{node.name}_bias_zero_point", np.zeros(bias.shape, np.int32))
        dequantize = ir.node(
            "DequantizeLinear", [integers, scales, zeros], attributes={"axis": 0}, name=f"{node.name}_bias_dq"
        )
        model.graph.insert_before(node, dequantize)
        node.replace_input_with(2, dequantize.outputs[0])
        count += 1
    return count


def _quantized_with_bias(node: ir.Node) -> tuple[float, ir.Node, np.ndarray] | None:
    """Input scale, the weights' DQ node and the float bias of a Conv or Gemm, `None` for other nodes."""
    input_dq, weight_dq = (value.producer() if value is not None else None for value in node.inputs[:2])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is None or bias.dtype != np.float32 or input_dq is None or weight_dq is None:
        return None
    if input_dq.op_type != "DequantizeLinear" or weight_dq.op_type != "DequantizeLinear":
        return None
    return float(parameters(input_dq)[0]), weight_dq, bias
