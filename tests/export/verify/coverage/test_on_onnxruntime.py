from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from export.capture.graph import capture
from export.emit.onnx.writer import write
from export.lower import lower
from export.quantize.int8_reference import calibrate, convert, prepare
from export.verify.coverage.macs import macs
from export.verify.coverage.on_onnxruntime import onnxruntime_coverage
from export.verify.coverage.report import attempt
from models.spec import as_tuple
from tests.export.emit.tflite.litert import file_spec_of
from tests.export.networks import conv, trained

CLIP = (1, 3, 4, 8, 8)


def found(model: nn.Module, x: Tensor, folder: Path):
    """Coverage of the unlowered network."""
    program = capture(model, (x,))
    spec = file_spec_of({"clip": x}, as_tuple(model(x)))
    return write(program, folder / "model.onnx", spec=spec, scheme="fp32").coverage


def found_in_int8(model: nn.Module, x: Tensor, folder: Path):
    """Coverage of the lowered and calibrated network."""
    prepared = prepare(lower(capture(model, (x,))))
    calibrate(prepared, [(torch.rand_like(x),) for _ in range(2)])
    program = torch.export.export(convert(prepared), (x,))
    spec = file_spec_of({"clip": x}, as_tuple(model(x)))
    return write(program, folder / "model.onnx", spec=spec, scheme="w8a8").coverage


BLOCKED = (
    nn.Conv2d(3, 7, 3),
    nn.Conv2d(20, 7, 3),
    nn.Conv2d(8, 8, 3, groups=8),
    nn.Conv2d(32, 32, 3, groups=2),
    nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU6(), nn.Conv2d(8, 4, 1), nn.ReLU()),
)
"""Few channels, a multiple of four, depthwise, whole blocks in a group, fused with the next operator."""

GENERIC = (
    (nn.Conv2d(17, 8, 3), "it reads 17 channels, and blocked kernels take a multiple of 4"),
    (nn.Conv2d(6, 6, 3, groups=6), "it has 6 channels, and blocked kernels take a multiple of 4"),
    (nn.Conv2d(12, 12, 3, groups=3), "it has 3 groups of 4 to 4 channels"),
    (nn.ConvTranspose2d(8, 4, 2), "no blocked kernel for transposed convolutions"),
    (nn.Sequential(nn.Conv3d(8, 8, 3), nn.ReLU()), "3 axes besides channels, and blocked kernels support 2"),
    (nn.Conv1d(8, 8, 3), "1 axes besides channels, and blocked kernels support 2"),
)
"""Convolutions without a blocked kernel and the reason."""


class Convolutions(nn.Module):
    """Every layer on the part of the clip that it takes, and a convolution with computed weights."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, clip: Tensor) -> tuple[Tensor, ...]:
        results = []
        for layer in self.layers:
            first = layer[0] if isinstance(layer, nn.Sequential) else layer
            x = clip[:, : first.in_channels]
            for _ in range(3 - len(first.kernel_size)):
                x = x[:, :, 0]
            results.append(layer(x))
        x = clip[:, :8, 0]
        return (*results, F.conv2d(x, x[:, :, :3, :3] * 2))


def test_convolutions_in_blocks_of_channels_are_accelerated_and_others_left_with_the_reason(tmp_path):
    generic, reasons = zip(*GENERIC, strict=True)
    x = torch.randn(1, 32, 4, 8, 8)
    coverage = found(Convolutions([*BLOCKED, *generic]), x, tmp_path)
    if "without blocked" in coverage.source:
        pytest.skip("this processor has no blocked kernels")
    assert len(coverage.left) == len(GENERIC) + 1
    for left, reason in zip(coverage.left, (*reasons, "its weights are computed"), strict=True):
        assert reason in left.reason and left.macs > 0
    alone = Convolutions(list(BLOCKED))
    graph = capture(alone, (x,)).graph
    computed = coverage.left[-1].macs
    assert coverage.accelerated_macs == sum(map(macs, graph.nodes)) - computed
    assert coverage.partitions is None


class Mixed(nn.Module):
    """A 3D convolution before a recurrent layer and matrix products with fused activations."""

    def __init__(self) -> None:
        super().__init__()
        self.volume = nn.Conv3d(3, 4, 3)
        self.memory = nn.LSTM(4, 5, batch_first=True)
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.volume(x).mean((3, 4)).transpose(1, 2)
        y = F.relu(self.first(self.memory(y)[0][:, -1]))
        return self.second(y)


def test_what_is_left_has_its_multiply_adds_and_its_place(tmp_path):
    model, x = Mixed(), torch.randn(CLIP)
    coverage = found(model, x, tmp_path)
    (left,) = coverage.left
    assert left.operator == "Conv" and left.macs == 4 * 2 * 6 * 6 * 3 * 27
    assert left.place.startswith("tests/export/verify/coverage/test_on_onnxruntime.py:")
    assert left.place.endswith("`y = self.volume(x).mean((3, 4)).transpose(1, 2)`")
    assert coverage.macs == sum(map(macs, capture(model, (x,)).graph.nodes))
    assert coverage.accelerated_macs == coverage.macs - left.macs


def test_an_int8_file_without_a_float_convolution_has_full_coverage(tmp_path):
    model = trained(
        nn.Sequential(conv(3, 8, 1, act=nn.ReLU6), conv(8, 8, 3, padding=1, groups=8), conv(8, 4, 1))
    )
    coverage = found_in_int8(model, torch.rand(CLIP), tmp_path)
    assert (coverage.share, coverage.left) == (1.0, ())


class Curved(nn.Module):
    """An exact GELU between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = conv(3, 4, 1), conv(4, 4, 1)

    def forward(self, clip: Tensor) -> Tensor:
        y = F.gelu(self.before(clip))
        return self.after(y)


def test_an_int8_file_names_what_computes_in_float_and_every_pair_left_unfused(tmp_path):
    coverage = found_in_int8(trained(Curved()), torch.rand(CLIP), tmp_path)
    assert coverage.share == 1.0
    assert {(one.operator, one.reason) for one in coverage.left} == {
        ("DequantizeLinear", "Gelu node_gelu uses the value in float"),
        ("QuantizeLinear", "Gelu node_gelu returns the value in float"),
    }
    assert all(one.place.endswith("`y = F.gelu(self.before(clip))`") for one in coverage.left)


FLOAT_BETWEEN_PAIRS = """
<ir_version: 10, opset_import: ["" : 20]>
small (float[5, 1, 4] x) => (float[5, 1, 1, 6] states, float[5, 1, 3] product)
<float s = {0.05}, int8 z = {0}>
{
    integers = QuantizeLinear (x, s, z)
    values = DequantizeLinear (integers, s, z)
    found = GRU <hidden_size = 6> (values, for_inputs, for_states)
    rounded = QuantizeLinear (found, s, z)
    states = DequantizeLinear (rounded, s, z)
    product = MatMul (values, weights)
}
"""
"""A recurrent layer, which has no integer kernel, and a product with weights that are not quantized."""


def test_layers_that_compute_in_float_in_an_int8_file_are_left_with_the_reason(tmp_path):
    import onnx

    model = onnx.parser.parse_model(FLOAT_BETWEEN_PAIRS)
    shapes = {"for_inputs": (1, 18, 4), "for_states": (1, 18, 6), "weights": (4, 3)}
    for name, shape in shapes.items():
        tensor = onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
        model.graph.initializer.append(tensor)
    onnx.save(model, tmp_path / "model.onnx")
    places = {"found": "net.py:7 `self.memory(x)`"}
    coverage = onnxruntime_coverage(tmp_path / "model.onnx", scheme="w8a8", places=places)
    recurrent, product, *pairs = coverage.left
    assert (recurrent.macs, product.macs) == (5 * 18 * (4 + 6), 5 * 4 * 3)
    assert coverage.macs == recurrent.macs + product.macs and coverage.accelerated_macs == 0
    assert recurrent.reason == (
        "it computes in float: ONNX Runtime has no integer kernel for GRU between Q/DQ pairs"
    )
    assert recurrent.place == "net.py:7 `self.memory(x)`"
    assert product.reason == "it computes in float: its second operand is float in the file"
    assert {one.operator for one in pairs} == {"DequantizeLinear", "QuantizeLinear"}
    assert "GRU found returns the value in float" in [one.reason for one in pairs]


def test_a_file_that_the_runtime_refuses_has_no_coverage_and_a_reason(tmp_path):
    import onnx

    path = tmp_path / "model.onnx"
    onnx.save(onnx.ModelProto(), path)
    coverage, notes = attempt(lambda: onnxruntime_coverage(path, scheme="fp32", places={}))
    assert coverage is None
    assert notes[0].startswith("its coverage is unknown: ")
