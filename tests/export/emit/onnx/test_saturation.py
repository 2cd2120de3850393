"""The products of uint8 and int8 on x86 without VNNI, emulated in NumPy."""

from __future__ import annotations

import platform
import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from export.choice import Forms
from export.emit.onnx import session
from export.emit.onnx.passes.saturation import EXACT, can_saturate, layers_that_can_saturate, needs
from export.network import Exported, export_network
from models import STUDENTS
from models.spec import ClipSpec, LabelSpec, VideoSpec
from models.statistics import settle_statistics
from tests.export.shared_weights import two_layers_with_the_same_weights
from tests.export.user_nets import clips

pytestmark = pytest.mark.slow


def vpmaddubsw(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sums of two neighbouring products, saturated to 16 bits, as computed by the instruction."""
    products = activations.astype(np.int32) * weights.astype(np.int32)
    return np.clip(products[..., 0::2] + products[..., 1::2], -(2**15), 2**15 - 1)


def dot(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return vpmaddubsw(activations, weights).sum(-1)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_proven_safe_is_exact_and_the_rest_has_activations_that_are_not(seed):
    rng = np.random.default_rng(seed)
    for largest in (30, 64, 65, 100, 127):
        rows = rng.integers(-largest, largest + 1, (3, 8)).astype(np.int8)
        # Every weight alone at the largest activation, by sign: the extremes of each sum.
        worst = [np.where(rows > 0, 255, 0), np.where(rows < 0, 255, 0)]
        given = [*worst, *(rng.integers(0, 256, rows.shape) for _ in range(50))]
        exact = all(
            np.array_equal(dot(a.astype(np.uint8), rows), (a * rows.astype(np.int32)).sum(-1)) for a in given
        )
        assert can_saturate(rows) == (not exact)


def test_the_limit_is_that_of_16_bits():
    assert not can_saturate(np.array([[64, 64]]))
    assert can_saturate(np.array([[64, 65]]))
    assert not can_saturate(np.array([[-64, -64]]))
    assert can_saturate(np.array([[-64, -65]]))
    assert not can_saturate(np.array([[127, -127]]))
    assert not can_saturate(np.array([[1, 127, 127]])), (
        "neighbours are the numbers 0 and 1, and the last is alone"
    )


def layer(kind: str, weights: np.ndarray, **attributes: int):
    onnx = pytest.importorskip("onnx")
    import onnx_ir as ir
    from onnx import helper, numpy_helper

    numbers = {
        "w": weights.astype(np.int8),
        "s": np.float32(0.1),
        "z": np.uint8(0),
        "zw": np.int8(0),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["xf"]),
        helper.make_node("DequantizeLinear", ["w", "s", "zw"], ["wf"]),
        helper.make_node(kind, ["xf", "wf"], ["y"], name="the_layer", **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("x", onnx.TensorProto.UINT8, None)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()],
    )
    return ir.from_proto(helper.make_model(graph))


def test_layers_are_looked_at_in_the_order_of_their_kernels():
    pairs = np.zeros((2, 4, 1, 3))
    pairs[1, 0] = 100  # one channel at each position: its neighbour is the next channel
    assert layers_that_can_saturate(layer("Conv", pairs)) == ()
    pairs[1, 1, 0, 2] = 100
    assert layers_that_can_saturate(layer("Conv", pairs)) == ("the_layer",)
    assert layers_that_can_saturate(layer("Conv", np.full((4, 1, 3, 3), 127), group=4)) == ()
    two_outputs_per_channel = layer("Conv", np.full((8, 1, 3, 3), 127), group=4)
    assert layers_that_can_saturate(two_outputs_per_channel) == ("the_layer",), "not a depthwise kernel"
    matrix = np.zeros((4, 3))
    matrix[1:3, 0] = 100
    assert layers_that_can_saturate(layer("MatMul", matrix)) == ()
    matrix[0, 0] = 100
    assert layers_that_can_saturate(layer("MatMul", matrix)) == ("the_layer",)
    assert layers_that_can_saturate(layer("Gemm", matrix.T, transB=1)) == ("the_layer",)


def test_what_a_file_needs_is_said_unless_it_needs_nothing():
    assert needs((), layers=3) is None
    assert re.search(
        'VNNI.* ARM; .*x64quantprecision = "1", without which 2 of 3 layers', needs("ab", layers=3)
    )


SMALL = ClipSpec(
    video=VideoSpec(frames=4, size=32, resize=32),
    labels=(LabelSpec(name="label", classes=("a", "b", "c", "d")),),
)


@pytest.fixture(scope="module")
def int8_files(tmp_path_factory) -> dict[str | None, Exported]:
    """A student with dense convolutions, for any processor and for one with AVX2 alone."""
    torch.manual_seed(0)
    row = STUDENTS["r3d_tiny"]
    student = row.build(SMALL, row.options()).eval()
    settle_statistics(student, SMALL, seed=0)
    return {
        target: export_network(
            student,
            ["1x3x4x32x32"],
            out=tmp_path_factory.mktemp("export"),
            formats=["onnx"],
            schemes=["w8a8"],
            calibration="random",
            forms=Forms(target=target),
        )
        for target in (None, "x86-64-avx2")
    }


def model_of(exported: Exported) -> Path:
    assert exported.correct, exported.outcomes[0].reason
    return exported.manifest.parent / "onnx" / "w8a8" / "model.onnx"


def integer_layers(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For each dense convolution and linear layer its rows of uint8 inputs and its int8 weights, `N K` and `O K`.

    The inputs are those for a random clip. Rows are in the order in which ONNX Runtime multiplies: position by
    position, the channels of a position adjacent; positions outside of the image have the zero point.
    """
    model = onnx.load(path)
    stored = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    made_by = {name: node for node in model.graph.node for name in node.output}
    layers = []
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            source, weight = (made_by[name] for name in node.input[:2])
            options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            if options.get("group", 1) == 1:
                layers.append((node, source, stored[weight.input[0]], options))
    known = {one.name for one in model.graph.output}
    for name in {source.input[0] for _, source, _, _ in layers} - known:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    opened = ort.InferenceSession(model.SerializeToString(), plain)
    names = [one.name for one in opened.get_outputs()]
    clip = np.random.default_rng(1).random((1, 3, 4, 32, 32), np.float32)
    values = dict(zip(names, opened.run(names, {opened.get_inputs()[0].name: clip}), strict=True))
    found = {}
    for node, source, weight, options in layers:
        x = values[source.input[0]]
        if node.op_type == "Conv":
            x = patches(x, stored[source.input[2]], size=weight.shape[2:], options=options)
            weight = np.moveaxis(weight, 1, -1)
        elif not options.get("transB", 0):
            weight = weight.T
        found[node.name] = x.reshape(-1, x.shape[-1]), weight.reshape(len(weight), -1)
    return found


def patches(x: np.ndarray, zero_point: np.ndarray, *, size: tuple[int, int], options: dict) -> np.ndarray:
    """im2col of `N C H W`: `positions K`, K = kernel positions x channels."""
    top, left, bottom, right = options.get("pads", [0] * 4)
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=zero_point)
    windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=(2, 3))
    rows, columns = options.get("strides", [1, 1])
    windows = windows[:, :, ::rows, ::columns]
    return windows.transpose(0, 2, 3, 4, 5, 1).reshape(-1, size[0] * size[1] * x.shape[1])


def on_avx2(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The products `N O` as computed without VNNI; an odd last product is alone."""
    odd = ((0, 0), (0, x.shape[1] % 2))
    x, weights = np.pad(x, odd), np.pad(weights, odd)
    return np.stack([dot(x, row) for row in weights], 1)


def wrong_layers(path: Path) -> set[str]:
    layers = integer_layers(path)
    assert layers
    return {
        name
        for name, (x, weights) in layers.items()
        if not np.array_equal(on_avx2(x, weights), x.astype(np.int64) @ weights.T.astype(np.int64))
    }


def test_weights_of_8_bits_give_wrong_products_in_the_layers_that_are_named(int8_files):
    named = set(int8_files[None].outcomes[0].saturating_layers)
    wrong = wrong_layers(model_of(int8_files[None]))
    assert wrong and wrong <= named
    assert int8_files[None].outcomes[0].needs is not None


def test_weights_for_avx2_never_do(int8_files):
    path = model_of(int8_files["x86-64-avx2"])
    assert wrong_layers(path) == set()
    assert max(abs(weights.astype(int)).max() for _, weights in integer_layers(path).values()) == 64
    (outcome,) = int8_files["x86-64-avx2"].outcomes
    assert (outcome.needs, outcome.saturating_layers) == (None, ())
    assert "weights in 7 bits, except for those of depthwise layers" in outcome.notes
    assert outcome.notes[-1] == "exact on every processor: no sum of integer products can saturate"
    reference = outcome.parity.against["reference"][0]
    assert reference.sqnr_db > 40, "the reference has the same weights"


def types_of_weights(path: Path, *, optimized: Path) -> Counter[int]:
    """The types of the layers' weights in the graph that ONNX Runtime runs with the option."""
    options = ort.SessionOptions()
    options.add_session_config_entry(*EXACT)
    options.optimized_model_filepath = str(optimized)
    options.log_severity_level = 3
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    model = onnx.load(optimized)
    stored = {one.name: one.data_type for one in model.graph.initializer}
    return Counter(stored[node.input[3]] for node in model.graph.node if node.op_type == "QLinearConv")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the option is about x86 processors")
def test_with_the_option_weights_of_8_bits_run_as_uint8_and_those_for_avx2_as_int8(int8_files, tmp_path):
    uint8, int8 = onnx.TensorProto.UINT8, onnx.TensorProto.INT8
    full = types_of_weights(model_of(int8_files[None]), optimized=tmp_path / "full.onnx")
    narrow = types_of_weights(model_of(int8_files["x86-64-avx2"]), optimized=tmp_path / "narrow.onnx")
    assert set(full) == {uint8} and set(narrow) == {int8} and full.total() == narrow.total()


class Recurrent(nn.Module):
    """A convolution, and a recurrent layer whose steps share their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Conv3d(3, 16, (1, 3, 3), stride=(1, 4, 4))
        self.steps = nn.LSTM(16, 8, batch_first=True)

    def forward(self, clip: Tensor) -> Tensor:
        features = self.frame(clip).relu().mean((3, 4)).transpose(1, 2)
        return self.steps(features)[0][:, -1]


@pytest.mark.parametrize("network", [clips, Recurrent])
def test_files_are_exact_on_every_processor(tmp_path, network, monkeypatch):
    """With the option, the outputs match those of the graph without fusions, which computes the integers in
    float."""
    torch.manual_seed(0)
    shape = ["1x3x4x32x32"]
    exported = export_network(
        network(), shape, out=tmp_path, formats=["onnx"], schemes=["w8a8"], calibration="random"
    )
    assert exported.correct, exported.outcomes[0].reason
    path = str(tmp_path / "onnx" / "w8a8" / "model.onnx")
    plain = ort.SessionOptions()
    plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    monkeypatch.setattr(session, "lacks_vnni", lambda: True)
    exact = session.open_session(path)
    assert exact.get_session_options().get_session_config_entry(EXACT[0]) == EXACT[1]
    clip = np.random.default_rng(0).random((1, 3, 4, 32, 32), np.float32)
    (given,) = exact.run(None, {"clip": clip})
    (wanted,) = ort.InferenceSession(path, plain).run(None, {"clip": clip})
    # Kernels may round the last bit differently: steps of the output's own quantization.
    assert np.abs(given - wanted).max() <= 0.02 * np.abs(wanted).max()


def test_no_two_layers_share_what_onnx_runtime_replaces(tmp_path):
    torch.manual_seed(0)
    export_network(
        Recurrent(), ["1x3x4x32x32"], out=tmp_path, formats=["onnx"], schemes=["w8a8"], calibration="random"
    )
    model = onnx.load(tmp_path / "onnx" / "w8a8" / "model.onnx")
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    reads: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in stored and stored[node.input[0]].ndim > 1:
            if stored[node.input[0]].dtype == np.int8:
                readers = [one for one in model.graph.node if node.output[0] in one.input]
                assert len(readers) == 1
                reads.update((node.input[0], node.input[2]))
            else:
                assert stored[node.input[0]].dtype == np.uint8 and (stored[node.input[2]] == 128).all()
    assert reads and set(reads.values()) == {1}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the option is about x86 processors")
def test_a_file_that_cannot_be_opened_exactly_is_not_opened_in_silence(monkeypatch):
    monkeypatch.setattr(session, "lacks_vnni", lambda: True)
    with pytest.warns(RuntimeWarning, match="(?s)has no VNNI, .*x64quantprecision = 1.* can be wrong"):
        opened = session.open_session(two_layers_with_the_same_weights())
    assert opened.get_session_options().get_session_config_entry(EXACT[0]) == "0"


def test_with_vnni_the_option_is_not_given(monkeypatch):
    monkeypatch.setattr(session, "lacks_vnni", lambda: False)
    options = session.open_session(two_layers_with_the_same_weights()).get_session_options()
    with pytest.raises(RuntimeError, match="does not have configuration"):
        options.get_session_config_entry(EXACT[0])
