from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("ai_edge_litert.interpreter")

from export.capture.graph import capture
from export.emit.tflite.writer import write
from export.lower import lower
from export.quantize.weight_only import store_weights
from export.verify.coverage.macs import macs
from export.verify.coverage.on_litert import litert_coverage
from export.verify.coverage.report import attempt
from models import STUDENTS
from tests.export.emit.tflite.litert import file_spec_of, quantized, written
from tests.export.networks import Function, trained
from tests.export.small_nets import clip_spec

PICTURE = (1, 6, 8, 10)


def found(model: nn.Module, folder: Path, shape: tuple[int, ...] = PICTURE):
    return written(model.eval(), {"x": torch.randn(shape)}, folder).file.coverage


def found_in_int8(model: nn.Module, folder: Path, shape: tuple[int, ...] = PICTURE):
    torch.manual_seed(0)
    return quantized(model.eval(), {"x": torch.rand(shape)}, folder)[1].file.coverage


class Awkward(nn.Module):
    """Padding with another number than 0, steps of 2 and a log-softmax, which the delegate does not support."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(6, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.pad(self.first(x), (1, 1), value=0.5)
        y = y[:, :, 1::2, ::3].mean((2, 3))
        return F.log_softmax(self.second(y), 1)


def test_what_is_left_is_named_with_its_reason_and_place(tmp_path):
    coverage = found(Awkward(), tmp_path)
    padding, slices, softmax = coverage.left
    assert padding.reason == "the XNNPACK delegate has no PADV2"
    assert padding.place.endswith("`y = F.pad(self.first(x), (1, 1), value=0.5)`")
    assert slices.operator == "STRIDED_SLICE" and "steps of 1 only" in slices.reason
    assert slices.place.startswith("tests/export/verify/coverage/test_on_litert.py:")
    assert slices.place.endswith("`y = y[:, :, 1::2, ::3].mean((2, 3))`")
    assert (softmax.node, softmax.operator, softmax.macs) == ("output0", "LOG_SOFTMAX", 0)
    assert softmax.reason == "the XNNPACK delegate has no LOG_SOFTMAX"
    assert softmax.place.endswith("`return F.log_softmax(self.second(y), 1)`")
    assert coverage.partitions == 3
    assert coverage.share == 1.0 and coverage.macs == 4 * 6 * 8 * 6 * 9 + 4 * 3
    assert coverage.source.startswith("LiteRT ")


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2), PICTURE),
        (nn.Conv2d(6, 12, 3, groups=6), PICTURE),
        (Function(lambda x, f: f(x) @ x.transpose(2, 3), nn.Linear(10, 10)), PICTURE),
        (Function(lambda x: x.transpose(2, 3) @ x), PICTURE),
        (nn.Conv1d(6, 4, 3), (1, 6, 8)),
    ],
    ids=["grouped", "depthwise", "linear and product", "product of a transposed", "sequence"],
)
def test_the_multiply_adds_of_the_file_are_those_of_the_network(tmp_path, model, shape):
    graph = capture(model, (torch.randn(shape),)).run_decompositions({}).graph
    assert found(model, tmp_path, shape).macs == sum(map(macs, graph.nodes)) > 0


REFUSED_IN_INT8 = {
    "a kind that is float only": (lambda x: F.gelu(x), "takes GELU in float32 only, and this one computes in int8"),
    "sums of unlike scales": (lambda x: F.relu(x) + 1e7, "takes 1/1024 to 256"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_IN_INT8)
def test_int8_operators_outside_the_delegate_have_a_reason(tmp_path, name):
    function, reason = REFUSED_IN_INT8[name]
    (left,) = found_in_int8(Function(function), tmp_path).left
    assert reason in left.reason


def test_int4_convolutions_outside_the_delegate_have_a_reason(tmp_path):
    # The layers next to the input and the result keep 8 bits.
    model, x = nn.Sequential(*(nn.Conv2d(16, 16, 3) for _ in range(3))), torch.randn(1, 16, 8, 8)
    program = capture(store_weights(lower(capture(model, (x,))), scheme="w4"), (x,))
    spec = file_spec_of({"x": x}, (model(x),))
    (left,) = write(program, tmp_path / "model.tflite", spec=spec, scheme="w4").coverage.left
    assert "the XNNPACK delegate does so in FULLY_CONNECTED only" in left.reason


def test_multiply_adds_outside_of_the_delegate_are_not_accelerated(tmp_path):
    weights = Function(lambda x: F.conv2d(x, x.reshape(6, 6, 8, 10)[:, :, :3, :3] * 2))
    coverage = found(weights, tmp_path, (6, 6, 8, 10))
    (convolution,) = (one for one in coverage.left if one.operator == "CONV_2D")
    assert "with constant weights and bias only, and 'conv2d" in convolution.reason
    assert convolution.macs == coverage.macs and coverage.share == 0.0


def test_mobilenet3d_is_one_partition_with_nothing_left(tmp_path):
    spec, row = clip_spec(size=32), STUDENTS["mobilenet3d_tiny"]
    model = trained(row.build(spec, row.options()))
    coverage = written(model, {"clip": spec.example()[0]}, tmp_path, lowering=True).file.coverage
    assert (coverage.share, coverage.partitions, coverage.left) == (1.0, 1, ())
    assert coverage.macs > 1e6


def test_a_file_that_the_runtime_refuses_has_no_coverage_and_a_reason(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"no flatbuffer")
    coverage, notes = attempt(lambda: litert_coverage(path, places={}))
    assert coverage is None
    assert notes[0].startswith("its coverage is unknown: ValueError: ")
