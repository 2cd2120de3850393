"""Integer forms of activations: all 256 inputs in ONNX Runtime, and activations that stay in float."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
ir = pytest.importorskip("onnx_ir")

from onnx_ir.passes.common import RemoveUnusedNodesPass  # noqa: E402

from export.emit.onnx.passes.curves import curves_in_float, curves_in_integers  # noqa: E402
from tests.export.emit.onnx.test_passes import model_of, types  # noqa: E402

CURVES = {
    "hard-swish": "v = HardSwish(d)",
    "SiLU": "g = Sigmoid(d) v = Mul(d, g)",
    "SiLU, reversed": "g = Sigmoid(d) v = Mul(g, d)",
    "hard-sigmoid": "v = HardSigmoid<alpha=0.16666667, beta=0.5>(d)",
}
INPUTS = np.arange(256, dtype=np.uint8).reshape(1, 4, 8, 8)


def curve(body, *, scale=0.05, zero_point=100, out_scale=0.031, out_zero_point=12):
    return model_of(
        f"d = DequantizeLinear(x, s, z) {body} y = QuantizeLinear(v, s2, z2)",
        inputs="uint8[1,4,8,8] x",
        outputs="uint8[1,4,8,8] y",
        constants={
            "s": np.float32(scale),
            "z": np.uint8(zero_point),
            "s2": np.float32(out_scale),
            "z2": np.uint8(out_zero_point),
        },
    )


def run(model, folder):
    """The outputs for all 256 inputs, and the kernels of the optimised graph."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    content = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    kernels = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}
    return session.run(None, {"x": INPUTS})[0].astype(int), kernels


@pytest.mark.parametrize("name", CURVES)
def test_no_input_changes_the_output_by_more_than_one_step(name, tmp_path):
    fixed = {"out_scale": 1 / 256, "out_zero_point": 0} if name == "hard-sigmoid" else {}
    model = curve(CURVES[name], **fixed)
    before, _ = run(model, tmp_path)
    assert curves_in_integers(model) == 1
    RemoveUnusedNodesPass()(model)
    after, kernels = run(model, tmp_path)
    assert np.abs(before - after).max() <= 1
    assert kernels <= {"QLinearAdd", "QLinearMul", "QLinearSigmoid"}
    assert curves_in_float(model) == ()


@pytest.mark.parametrize("name", ["hard-swish", "SiLU"])
def test_a_curve_with_a_larger_difference_stays_in_float_and_is_named(name):
    # Negative inputs only: the outputs are close to zero, and finer than the rounded gate.
    model = curve(CURVES[name], scale=0.03, zero_point=255, out_scale=0.0011, out_zero_point=255)
    before = types(model)
    assert curves_in_integers(model) == 0
    assert types(model) == before
    assert len(curves_in_float(model)) == 1


def test_another_hard_sigmoid_stays():
    model = curve("v = HardSigmoid<alpha=0.2, beta=0.5>(d)", out_scale=1 / 256, out_zero_point=0)
    assert curves_in_integers(model) == 0
