from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("executorch.exir")

from export.capture.graph import capture
from export.emit.executorch.writer import write
from tests.export.emit.tflite.litert import file_spec_of
from tests.export.networks import Function

pytestmark = pytest.mark.slow


def coverage_of(model: nn.Module, x: Tensor, folder: Path):
    spec = file_spec_of({"x": x}, (model(x),))
    return write(capture(model, (x,)), folder / "model.pte", spec=spec, scheme="fp32").coverage


class Awkward(nn.Module):
    """A 3D convolution and an embedding, which XNNPACK does not support, around a GELU, which it supports."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.words = nn.Conv3d(3, 4, 3), nn.Embedding(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.dense(x))
        return self.words(y.mean((3, 4)).argmax(1))


def test_what_is_left_is_named_with_its_multiply_adds_reason_and_place(tmp_path):
    found = coverage_of(Awkward(), torch.randn(1, 3, 4, 6, 6), tmp_path)
    left = {one.operator: one for one in found.left}
    convolution = left["aten.convolution.default"]
    assert convolution.macs == found.macs == 4 * 2 * 4 * 4 * 3 * 27
    assert convolution.reason == "XNNPACK's partitioner refuses it: Only support 1D + 2D Conv"
    assert convolution.place.startswith("tests/export/verify/coverage/test_on_executorch.py:")
    assert convolution.place.endswith("`y = F.gelu(self.dense(x))`")
    assert found.accelerated_macs == 0 and found.share == 0.0
    assert left["aten.argmax.default"].reason == "XNNPACK's partitioner has no rule for this operator"
    assert left["aten.embedding.default"].macs == 0
    # GELU and the mean were taken: they are between the operators outside.
    assert found.partitions == 1 and not {"aten.gelu.default", "aten.mean.dim"} & left.keys()
    assert json.loads(json.dumps(found.to_dict()))["source"].startswith("delegation table of ExecuTorch")


def test_every_partition_counts(tmp_path):
    model = Function(
        lambda x, first, second: second(first(x).argmax(1).float()), nn.Linear(6, 5), nn.Linear(5, 3)
    )
    found = coverage_of(model, torch.randn(2, 6, 4).transpose(1, 2).contiguous(), tmp_path)
    assert found.partitions == 2
    assert found.macs == found.accelerated_macs == 2 * 4 * 6 * 5 + 2 * 5 * 3
