"""The products of uint8 and int8 on x86 without VNNI, emulated in NumPy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from export.emit.onnx.passes.saturation import can_saturate, layers_that_can_saturate
from export.emit.onnx.session import EXACT, open_session
from export.network import export_network
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
    matrix = np.zeros((4, 3))
    matrix[1:3, 0] = 100
    assert layers_that_can_saturate(layer("MatMul", matrix)) == ()
    matrix[0, 0] = 100
    assert layers_that_can_saturate(layer("MatMul", matrix)) == ("the_layer",)
    assert layers_that_can_saturate(layer("Gemm", matrix.T, transB=1)) == ("the_layer",)


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
def test_files_are_exact_on_every_processor(tmp_path, network):
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
    exact = open_session(path)
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
