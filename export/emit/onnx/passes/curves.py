"""Computes hard-swish, SiLU and hard-sigmoid between int8 values in integers.

ONNX Runtime has integer kernels for DQ -> Add, Mul or Sigmoid -> Q, and computes DQ -> HardSwish -> Q in float. The
three activations are therefore written with these operators; the file has standard operators only.

Hard-sigmoid is (x + 3) / 6, clamped to 0..1. Q with the scale 6 s saturates where the clamp does, and DQ with the
scale s reads its integers as the sixth. Hard-swish is x * hard-sigmoid(x), and SiLU is x * sigmoid(x).

Legend: a gate is the sigmoid or hard-sigmoid that x is multiplied by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.emit.onnx.passes.graph import initializer, is_per_tensor, nodes, parameters, source

if TYPE_CHECKING:
    import onnx_ir as ir

STEP = 1
"""Largest difference, in steps of the output, that rounding the gate may cause."""

_INTEGERS = np.arange(256, dtype=np.uint8)
_CURVES = ("HardSwish", "HardSigmoid", "Mul")


def curves_in_integers(model: ir.Model) -> int:
    """Replaces hard-swish, SiLU and hard-sigmoid where no input value changes the output by more than one step.

    Given: uint8 -> DQ -> HardSwish, x * Sigmoid(x) or HardSigmoid (1/6, 1/2) -> Q -> uint8.
    Result: hard-sigmoid as DQ -> Add of 3 -> Q; the others as DQ, (DQ -> gate -> Q -> DQ) -> Mul -> Q. All 256
    inputs are computed in both forms; a curve with a larger difference stays as it is (`curves_in_float`).
    """
    count = 0
    for site in _sites(model):
        if site.largest_difference() <= STEP:
            site.replace(model)
            count += 1
    return count


def curves_in_float(model: ir.Model) -> tuple[str, ...]:
    """Names of the curves that `curves_in_integers` left between DQ and Q."""
    return tuple(f"{site.curve.op_type} {site.curve.name}" for site in _sites(model))


@dataclass(frozen=True, kw_only=True)
class _Site:
    """DQ -> curve -> Q."""

    dequantize: ir.Node
    curve: ir.Node
    quantize: ir.Node

    @property
    def _is_silu(self) -> bool:
        return self.curve.op_type == "Mul"

    @property
    def _has_product(self) -> bool:
        return self.curve.op_type != "HardSigmoid"

    def largest_difference(self) -> int:
        """Largest difference of the outputs in steps, over all 256 input values."""
        x, output = _read(_INTEGERS, self.dequantize), parameters(self.quantize)
        gate = self._gates(x)
        exact = _rounded(x * gate if self._has_product else gate, *output)
        if self._has_product:
            scale = self._gate_scale()
            steps = _rounded(gate, scale, 0) if self._is_silu else _rounded(x + 3, 6 * scale, 0)
            written = _rounded(x * steps * scale, *output)
        else:
            written = _rounded(x + 3, 6 * float(output[0]), output[1])
        return int(np.abs(exact - written).max())

    def replace(self, model: ir.Model) -> None:
        """Writes the integer form in front of Q."""
        if not self._has_product:
            sixth, _ = parameters(self.quantize)
            wider = self._constant(model, "scale", np.float32(6 * float(sixth)))
            self.quantize.replace_input_with(0, self._plus_three(model))
            self.quantize.replace_input_with(1, wider)
            return
        x, scale = self.dequantize.outputs[0], self._gate_scale()
        if self._is_silu:
            gate, rounding = self._add(model, "Sigmoid", [x]), scale
        else:
            gate, rounding = self._plus_three(model), 6 * scale
        zero = self._constant(model, "gate_zero_point", np.uint8(0))
        rounded = self._constant(model, "gate_rounding", np.float32(rounding))
        integers = self._add(model, "QuantizeLinear", [gate, rounded, zero])
        read = self._constant(model, "gate_scale", np.float32(scale))
        product = self._add(model, "Mul", [x, self._add(model, "DequantizeLinear", [integers, read, zero])])
        self.quantize.replace_input_with(0, product)

    def _gate_scale(self) -> float:
        """The scale at which 255 is the largest gate of any input."""
        largest = float(self._gates(_read(_INTEGERS, self.dequantize)).max())
        return (largest or 1.0) / 255

    def _gates(self, x: np.ndarray) -> np.ndarray:
        return _sigmoid(x) if self._is_silu else np.clip((x + 3) / 6, 0, 1)

    def _plus_three(self, model: ir.Model) -> ir.Value:
        stored = self._constant(model, "three", np.uint8(255))
        scale = self._constant(model, "three_scale", np.float32(3 / 255))
        zero = self._constant(model, "three_zero_point", np.uint8(0))
        three = self._add(model, "DequantizeLinear", [stored, scale, zero], name="three_read")
        return self._add(model, "Add", [self.dequantize.outputs[0], three])

    def _add(
        self, model: ir.Model, op_type: str, inputs: list[ir.Value], *, name: str | None = None
    ) -> ir.Value:
        import onnx_ir as ir

        node = ir.node(op_type, inputs, name=f"{self.quantize.name}_{name or op_type.lower()}")
        is_integer = op_type == "QuantizeLinear"
        value, of_x = node.outputs[0], self.curve.outputs[0]
        value.type = ir.TensorType(ir.DataType.UINT8 if is_integer else ir.DataType.FLOAT)
        value.shape = ir.Shape(()) if name else of_x.shape
        model.graph.insert_before(self.quantize, node)
        return value

    def _constant(self, model: ir.Model, name: str, values: np.generic) -> ir.Value:
        return initializer(model, f"{self.quantize.name}_{name}", np.asarray(values))


def _sites(model: ir.Model) -> list[_Site]:
    """The curves of uint8 values that return uint8."""
    found = []
    for quantize in nodes(model, "QuantizeLinear"):
        curve = source(quantize).producer()
        x = _input_of_curve(curve) if curve is not None and curve.op_type in _CURVES else None
        dequantize = x.producer() if x is not None else None
        if curve is None or dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        pair = (dequantize, quantize)
        if all(is_per_tensor(node) and parameters(node)[1].dtype == np.uint8 for node in pair):
            found.append(_Site(dequantize=dequantize, curve=curve, quantize=quantize))
    return found


def _input_of_curve(node: ir.Node) -> ir.Value | None:
    """The input x of hard-swish, SiLU or torch's hard-sigmoid; None for another node."""
    if node.op_type == "Mul":
        for x, gate in (node.inputs[:2], node.inputs[1::-1]):
            maker = gate.producer() if gate is not None else None
            if maker is not None and maker.op_type == "Sigmoid" and source(maker) is x:
                return x
        return None
    if node.op_type == "HardSigmoid":
        slope, offset = (node.attributes.get_float(name, default) for name, default in _HARD_SIGMOID)
        if not (math.isclose(slope, 1 / 6, rel_tol=1e-6) and offset == 0.5):
            return None
    return source(node)


_HARD_SIGMOID = (("alpha", 0.2), ("beta", 0.5))
"""Attributes of ONNX's HardSigmoid with their defaults."""


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _read(integers: np.ndarray, dequantize: ir.Node) -> np.ndarray:
    """The values that DQ gives, in float64."""
    scale, zero_point = parameters(dequantize)
    return (integers.astype(np.float64) - int(zero_point)) * float(scale)


def _rounded(values: np.ndarray, scale: np.ndarray | float, zero_point: np.ndarray | int) -> np.ndarray:
    """The integers that Q gives, as int64."""
    return np.clip(np.rint(values / float(scale)) + int(zero_point), 0, 255).astype(np.int64)
