"""Turns a captured int8 graph into the form that ONNX Runtime runs fast on x86 and ARM: one pass, one function.

Every pass takes an `onnx_ir.Model`, changes it in place and gives the number of places it changed. Legend: Q is
QuantizeLinear, DQ is DequantizeLinear, both with constant scale and zero point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from export.onnx_passes.activations import absorb_clamps, pool_by_average, shift_to_uint8
from export.onnx_passes.biases import quantize_biases, widen_scales_for_biases
from export.onnx_passes.copies import move_frames_by_padding, normalise_in_float
from export.onnx_passes.moves import (
    cancel_round_trips,
    dequantize_after_moving,
    quantize_before_moving,
    view_in_channels_last,
)

if TYPE_CHECKING:
    import onnx_ir as ir

INT8_PASSES: tuple[Callable[[ir.Model], int], ...] = (
    pool_by_average,
    quantize_before_moving,
    dequantize_after_moving,
    cancel_round_trips,
    shift_to_uint8,
    normalise_in_float,
    move_frames_by_padding,
    view_in_channels_last,
    absorb_clamps,
    widen_scales_for_biases,
    quantize_biases,
)
"""The passes in their order."""


def tune_int8(model: ir.Model) -> None:
    """Runs `INT8_PASSES` in order; what nothing reads any more is dropped after each."""
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass

    for tune in INT8_PASSES:
        tune(model)
        RemoveUnusedNodesPass()(model)
    CommonSubexpressionEliminationPass()(model)
