"""Every pass on graphs where it applies, on graphs where it must not, and numerically before and after."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
ir = pytest.importorskip("onnx_ir")

from onnx_ir.passes.common import RemoveUnusedNodesPass  # noqa: E402

from export.emit.onnx.passes import (  # noqa: E402
    absorb_clamps,
    cancel_round_trips,
    dequantize_after_moving,
    move_frames_by_padding,
    normalise_in_float,
    pool_by_average,
    quantize_before_moving,
    quantize_biases,
    shift_to_uint8,
    view_in_channels_last,
    widen_scales_for_biases,
)

X = "float[2,4,3,6] x"


def model_of(body, *, inputs=X, outputs="float[A,B,C,D] y", constants=None):
    """A model from ONNX's textual syntax; `constants` become initializers."""
    text = f'<ir_version: 10, opset_import: ["" : 20]> main ({inputs}) => ({outputs}) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    for name, values in (constants or {}).items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(values), name))
    for index, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{index}"
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    return ir.from_proto(proto)


def types(model):
    return [node.op_type for node in model.graph]


def _types_above(node):
    above = node.inputs[0].producer()
    return [] if above is None else [above.op_type, *_types_above(above)]


def run(model, feeds):
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(proto.SerializeToString(), options).run(None, feeds)


def apply_and_compare(model, tune, *, feeds=None, atol=0.0):
    """Runs the pass, checks that the outputs do not change, and returns the number of changes."""
    feeds = feeds or {"x": np.random.default_rng(0).normal(size=(2, 4, 3, 6)).astype(np.float32) * 3}
    before = run(model, feeds)
    count = tune(model)
    for old, new in zip(before, run(model, feeds), strict=True):
        np.testing.assert_allclose(old, new, rtol=0, atol=atol)
    return count


QUANT = {"s": np.float32(0.02), "z": np.int8(-128), "s2": np.float32(0.03), "z0": np.int8(0)}


def test_mean_over_rows_and_columns_becomes_a_pooling():
    model = model_of("y = ReduceMean<keepdims=1>(x, axes)", constants={"axes": np.array([-1, 2])})
    assert apply_and_compare(model, pool_by_average, atol=1e-6) == 1
    assert types(model) == ["GlobalAveragePool"]


@pytest.mark.parametrize(
    ("body", "axes", "outputs"),
    [
        ("y = ReduceMean<keepdims=1>(x, axes)", [1, 2], "float[A,B,C,D] y"),
        ("y = ReduceMean<keepdims=0>(x, axes)", [2, 3], "float[A,B] y"),
    ],
)
def test_other_means_stay(body, axes, outputs):
    model = model_of(body, outputs=outputs, constants={"axes": np.array(axes)})
    assert apply_and_compare(model, pool_by_average) == 0


def test_q_moves_up_through_a_chain_of_moves():
    model = model_of(
        "a = Transpose<perm=[1,0,2,3]>(x) b = Reshape(a, shape) q = QuantizeLinear(b, s, z) "
        "y = DequantizeLinear(q, s, z)",
        constants={**QUANT, "shape": np.array([1, 4, 2, 18])},
    )
    assert apply_and_compare(model, quantize_before_moving) == 2
    assert types(model) == ["QuantizeLinear", "Transpose", "Reshape", "DequantizeLinear"]


def test_q_stays_where_the_moved_values_are_read_elsewhere():
    model = model_of(
        "a = Transpose<perm=[1,0,2,3]>(x) q = QuantizeLinear(a, s, z) y = DequantizeLinear(q, s, z) w = Relu(a)",
        outputs="float[A,B,C,D] y, float[E,F,G,H] w",
        constants=QUANT,
    )
    assert apply_and_compare(model, quantize_before_moving) == 0


def test_dq_moves_down_and_the_round_trip_disappears():
    model = model_of(
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) a = Transpose<perm=[1,0,2,3]>(d) "
        "q1 = QuantizeLinear(a, s, z) y = DequantizeLinear(q1, s, z)",
        constants=QUANT,
    )
    assert apply_and_compare(model, dequantize_after_moving) == 1
    assert apply_and_compare(model, cancel_round_trips) == 1
    last = model.graph.outputs[0].producer()
    assert [last.op_type, *_types_above(last)] == ["DequantizeLinear", "Transpose", "QuantizeLinear"]


def test_a_requantization_to_another_scale_stays():
    model = model_of(
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) q1 = QuantizeLinear(d, s2, z) "
        "y = DequantizeLinear(q1, s2, z)",
        constants=QUANT,
    )
    assert apply_and_compare(model, cancel_round_trips) == 0


@pytest.mark.parametrize(
    "chain",
    [
        "a = Transpose<perm=[1,0,2,3]>(x) y = Reshape(a, plane)",
        "a = Transpose<perm=[1,0,2,3]>(x) b = Reshape(a, plane) c = Reshape(b, back) "
        "y = Transpose<perm=[1,0,2,3]>(c)",
    ],
)
def test_the_time_plane_view_becomes_a_reshape_between_transposes_to_channels_last(chain):
    model = model_of(chain, constants={"plane": np.array([1, 4, 2, 18]), "back": np.array([4, 2, 3, 6])})
    assert apply_and_compare(model, view_in_channels_last) == 1
    assert types(model)[-3:] == ["Transpose", "Reshape", "Transpose"]
    assert model.graph[-1].attributes["perm"].as_ints() == (0, 3, 1, 2)


def test_rows_of_images_are_a_reshape_after_or_before_one_transpose():
    model = model_of(
        "a = Transpose<perm=[1,0,2,3]>(x) b = Reshape(a, plane) c = Reshape(b, back) "
        "d = Transpose<perm=[1,0,2,3]>(c) e = Transpose<perm=[0,2,3,1]>(d) rows = Reshape(e, flat) "
        "g = Gather<axis=0>(rows, taken) f = Reshape(g, picture) y = Transpose<perm=[0,3,1,2]>(f)",
        constants={
            "plane": np.array([1, 4, 2, 18]),
            "back": np.array([4, 2, 3, 6]),
            "flat": np.array([6, 24]),
            "taken": np.array([5, 0, 3, 2]),
            "picture": np.array([2, 2, 6, 4]),
        },
    )
    assert apply_and_compare(model, view_in_channels_last) == 2
    RemoveUnusedNodesPass()(model)
    assert types(model) == ["Transpose", "Reshape", "Gather", "Reshape", "Transpose"]


@pytest.mark.parametrize(
    "chain",
    [
        "a = Reshape(x, plane) y = Transpose<perm=[0,2,1,3]>(a)",
        "a = Transpose<perm=[0,1,3,2]>(x) y = Reshape(a, plane)",
        "y = Transpose<perm=[0,2,3,1]>(x)",
    ],
)
def test_moves_that_do_move_values_in_channels_last_stay(chain):
    model = model_of(chain, constants={"plane": np.array([1, 4, 2, 18])})
    assert apply_and_compare(model, view_in_channels_last) == 0


@pytest.mark.parametrize(
    ("clamp", "scale", "zero_point"),
    [
        ("Relu(x)", 0.02, -128),
        ("Clip(x, low, high)", 6 / 255, -128),
        ("Clip(x, low, high)", 0.02, -128),
        ("Clip(x, low)", 0.1, -128),
    ],
)
def test_clamps_implied_by_the_range_are_absorbed(clamp, scale, zero_point):
    model = model_of(
        f"a = {clamp} q = QuantizeLinear(a, s, z) y = DequantizeLinear(q, s, z)",
        constants={
            "s": np.float32(scale),
            "z": np.int8(zero_point),
            "low": np.float32(0),
            "high": np.float32(6),
        },
    )
    assert apply_and_compare(model, absorb_clamps) == 1
    assert model.graph[-2].inputs[0].name == "x"


@pytest.mark.parametrize(
    ("clamp", "scale", "zero_point"),
    [
        ("Relu(x)", 0.02, 0),
        ("Clip(x, low, high)", 0.03, -128),
        ("Clip(x, x_min, high)", 0.02, -128),
    ],
)
def test_clamps_inside_the_range_stay(clamp, scale, zero_point):
    model = model_of(
        f"x_min = ReduceMin<keepdims=0>(x) a = {clamp} q = QuantizeLinear(a, s, z) y = DequantizeLinear(q, s, z)",
        constants={
            "s": np.float32(scale),
            "z": np.int8(zero_point),
            "low": np.float32(0),
            "high": np.float32(6),
        },
    )
    assert apply_and_compare(model, absorb_clamps) == 0


CONV = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) wd = DequantizeLinear<axis=0>(w, ws, wz) "
CONV_BODY = (
    CONV
    + "c = Conv<kernel_shape=[1,1]>(d, wd, b) q2 = QuantizeLinear(c, s2, z0) y = DequantizeLinear(q2, s2, z0)"
)


def conv_constants(*, bias, weight_scales):
    weights = np.random.default_rng(1).integers(-127, 128, size=(5, 4, 1, 1)).astype(np.int8)
    return {
        **QUANT,
        "w": weights,
        "ws": np.array(weight_scales, np.float32),
        "wz": np.zeros(5, np.int8),
        "b": np.array(bias, np.float32),
    }


def test_activations_become_uint8_and_weights_stay_int8():
    model = model_of(CONV_BODY, constants=conv_constants(bias=np.ones(5), weight_scales=np.full(5, 0.01)))
    assert apply_and_compare(model, shift_to_uint8) == 4
    stored = {
        node.inputs[2].const_value.numpy().dtype.name for node in model.graph if "Linear" in node.op_type
    }
    assert stored == {"uint8", "int8"}
    assert apply_and_compare(model, shift_to_uint8) == 0, "a second run finds nothing to do"


def test_padding_of_int8_activations_is_shifted_with_them():
    model = model_of(
        "q = QuantizeLinear(x, s, z) p = Pad(q, around, z) y = DequantizeLinear(p, s, z)",
        constants={**QUANT, "around": np.array([0, 0, 1, 0, 0, 0, 0, 0])},
    )
    assert apply_and_compare(model, shift_to_uint8) == 3


def test_biases_become_int32_in_steps_of_the_accumulator():
    scales = np.linspace(0.001, 0.01, 5)
    bias = np.linspace(-2, 2, 5)
    model = model_of(CONV_BODY, constants=conv_constants(bias=bias, weight_scales=scales))
    assert apply_and_compare(model, widen_scales_for_biases) == 0
    assert apply_and_compare(model, quantize_biases, atol=0.03) == 1
    conv = next(node for node in model.graph if node.op_type == "Conv")
    stored = conv.inputs[2].producer().inputs[0].const_value.numpy()
    np.testing.assert_array_equal(stored, np.rint(bias / (scales.astype(np.float32) * np.float32(0.02))))
    assert stored.dtype == np.int32
    assert apply_and_compare(model, quantize_biases) == 0, "a second run finds nothing to do"


def test_a_float_convolution_keeps_its_float_bias():
    model = model_of(
        "y = Conv<kernel_shape=[1,1]>(x, w, b)",
        constants={"w": np.ones((5, 4, 1, 1), np.float32), "b": np.ones(5, np.float32)},
    )
    assert apply_and_compare(model, quantize_biases) == 0


def test_a_dead_channel_gets_a_scale_in_which_its_bias_fits():
    scales = np.array([0.01, 1e-10, 0.01, 0.01, 0.01])
    bias = np.array([0.5, 2.0, 0.5, 0.5, 0.5])
    body = CONV + "y = Conv<kernel_shape=[1,1]>(d, wd, b)"
    model = model_of(body, constants=conv_constants(bias=bias, weight_scales=scales))
    assert apply_and_compare(model, widen_scales_for_biases, atol=1e-6) == 1
    assert apply_and_compare(model, quantize_biases, atol=2e-4) == 1


def test_a_bias_that_cannot_fit_is_refused():
    constants = conv_constants(bias=np.full(5, 2.0), weight_scales=np.full(5, 1e-10))
    constants["wz"] = np.ones(5, np.int8)
    model = model_of(CONV + "y = Conv<kernel_shape=[1,1]>(d, wd, b)", constants=constants)
    assert widen_scales_for_biases(model) == 0
    with pytest.raises(ValueError, match=r"Conv 'Conv_3': its bias \(up to 2\) does not fit int32"):
        quantize_biases(model)


def one_hot(*shape, taps):
    """Weights (O, I, kH, 1) whose blocks of output channels each copy their input through one tap."""
    weights = np.zeros(shape, np.int8)
    for block, tap in enumerate(taps):
        for channel in range(4):
            weights[block * 4 + channel, channel % shape[1], tap, 0] = 127
    return weights


def moving_model(weights, *, attributes, scale_after="s", zero_after="z"):
    out = weights.shape[0]
    return model_of(
        CONV + f"c = Conv<{attributes}>(d, wd) q2 = QuantizeLinear(c, {scale_after}, {zero_after}) "
        f"y = DequantizeLinear(q2, {scale_after}, {zero_after})",
        constants={
            **QUANT,
            "w": weights,
            "ws": np.full(out, 1 / 127, np.float32),
            "wz": np.zeros(out, np.int8),
        },
    )


@pytest.mark.parametrize("tap", [0, 1, 2])
@pytest.mark.parametrize(
    "geometry",
    [
        "pads=[1,0,1,0], strides=[1,1], dilations=[1,1]",
        "pads=[1,0,1,0], strides=[2,1], dilations=[1,1]",
        "pads=[2,0,2,0], strides=[1,1], dilations=[2,1]",
        "pads=[0,0,0,0], strides=[1,1], dilations=[1,1]",
        "pads=[2,0,0,0], strides=[1,1], dilations=[1,1]",
    ],
)
def test_a_depthwise_one_hot_convolution_becomes_a_copy(tap, geometry):
    model = moving_model(one_hot(4, 1, 3, 1, taps=[tap]), attributes=f"group=4, {geometry}")
    assert apply_and_compare(model, move_frames_by_padding) == 1
    last = model.graph.outputs[0].producer()
    assert set(_types_above(last)) <= {"QuantizeLinear", "Slice", "Pad"}
    clip = {"x": np.zeros((2, 4, 3, 6), np.float32)}
    assert tuple(last.inputs[0].shape) == run(model, clip)[0].shape, "passes that follow read shapes"


def test_a_gathering_one_hot_convolution_becomes_copies_and_a_concat():
    weights = one_hot(12, 4, 3, 1, taps=[0, 1, 2])
    model = moving_model(weights, attributes="pads=[1,0,1,0]")
    assert apply_and_compare(model, move_frames_by_padding) == 1
    concat = model.graph.outputs[0].producer().inputs[0].producer()
    assert concat.op_type == "Concat"
    assert [value.producer().op_type for value in concat.inputs] == ["Pad", "QuantizeLinear", "Pad"]


def test_convolutions_that_compute_stay():
    averaging = one_hot(4, 1, 3, 1, taps=[0])
    averaging[:, :, 1] = 1
    halving = one_hot(4, 1, 3, 1, taps=[1]) // 2
    swapping = one_hot(4, 4, 3, 1, taps=[1])[[1, 0, 2, 3]]
    for weights, group in ((averaging, 4), (halving, 4), (swapping, 1)):
        model = moving_model(weights, attributes=f"group={group}, pads=[1,0,1,0]")
        assert apply_and_compare(model, move_frames_by_padding) == 0
    rescaled = moving_model(
        one_hot(4, 1, 3, 1, taps=[0]), attributes="group=4, pads=[1,0,1,0]", scale_after="s2", zero_after="z0"
    )
    assert apply_and_compare(rescaled, move_frames_by_padding) == 0


def normalising_model(channels, *, weights):
    body = CONV + (
        f"c = Conv<group={channels}>(d, wd, b) q2 = QuantizeLinear(c, s2, z0) y = DequantizeLinear(q2, s2, z0)"
    )
    constants = {
        **QUANT,
        "w": np.full((channels, 1, 1, 1), 127, np.int8) * np.sign(weights).astype(np.int8),
        "ws": np.full(channels, 2 / 127, np.float32),
        "wz": np.zeros(channels, np.int8),
        "b": np.linspace(-1, -0.5, channels).astype(np.float32),
    }
    return model_of(body, inputs=f"float[2,{channels},3,6] x", constants=constants)


def test_normalisation_of_the_clip_is_a_scaled_dq_and_a_sum():
    model = normalising_model(3, weights=1)
    feeds = {"x": np.random.default_rng(0).random((2, 3, 3, 6), np.float32)}
    # At most one step of the result: the two orders of float32 operations may round a tie differently.
    assert apply_and_compare(model, normalise_in_float, feeds=feeds, atol=0.0301) == 1
    last = model.graph.outputs[0].producer()
    assert _types_above(last) == ["QuantizeLinear", "Add", "DequantizeLinear", "QuantizeLinear"]


@pytest.mark.parametrize(("channels", "weights"), [(8, 1), (3, -1)])
def test_many_channels_and_negative_weights_stay_with_the_convolution(channels, weights):
    model = normalising_model(channels, weights=weights)
    feeds = {"x": np.random.default_rng(0).random((2, channels, 3, 6), np.float32)}
    assert apply_and_compare(model, normalise_in_float, feeds=feeds) == 0
