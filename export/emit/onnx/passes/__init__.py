"""Rewrites an ONNX graph into the form that ONNX Runtime runs fast on x86 and ARM: one function per pass.

Every pass takes an `onnx_ir.Model`, changes it in place and returns the number of changes. Legend: Q is
QuantizeLinear, DQ is DequantizeLinear, both with constant scale and zero point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from export.emit.onnx.passes.activations import absorb_clamps, pool_by_average, shift_to_uint8
from export.emit.onnx.passes.biases import quantize_biases, widen_scales_for_biases
from export.emit.onnx.passes.copies import move_frames_by_padding, normalise_in_float
from export.emit.onnx.passes.curves import curves_in_integers
from export.emit.onnx.passes.data_movement import (
    cancel_round_trips,
    dequantize_after_moving,
    quantize_before_moving,
    view_in_channels_last,
)
from export.emit.onnx.passes.exactness import separate_weights
from export.emit.onnx.passes.weights import expand_integers_when_loading, store_as_float16

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
    curves_in_integers,
    widen_scales_for_biases,
    quantize_biases,
)
"""The passes in order."""


WEIGHT_PASSES: dict[str, tuple[Callable[[ir.Model], int], ...]] = {
    "fp16": (store_as_float16,),
    "w8": (expand_integers_when_loading,),
    "w4": (expand_integers_when_loading,),
}
"""The passes of each weight-only scheme."""


def tune_int8(model: ir.Model) -> None:
    """Runs `INT8_PASSES` in order, then `separate_weights`; unused values are dropped after each."""
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass

    _run(INT8_PASSES, model)
    CommonSubexpressionEliminationPass()(model)
    _run((separate_weights,), model)


def shrink_weights(model: ir.Model, *, scheme: str) -> None:
    """Runs the `WEIGHT_PASSES` of `scheme`."""
    _run(WEIGHT_PASSES[scheme], model)


def _run(passes: tuple[Callable[[ir.Model], int], ...], model: ir.Model) -> None:
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    for tune in passes:
        tune(model)
        RemoveUnusedNodesPass()(model)
