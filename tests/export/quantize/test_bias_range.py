"""BatchNorms that switch channels off, or nearly so: their int8 files are correct in every format."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.export.single_files import ANSWERS, graph_of, write

RUNTIMES = {"tflite": "ai_edge_litert.interpreter", "executorch": "executorch.exir", "onnx": "onnxruntime"}


class Switched(nn.Module):
    """Channels of a dense and a depthwise convolution have `gamma` and `bias`, and so has a row of `head`."""

    def __init__(self, gamma: float, bias: float) -> None:
        super().__init__()
        self.dense, self.first = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depthwise, self.second = nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)
        with torch.no_grad():
            for norm in (self.first, self.second):
                norm.weight[2:4], norm.bias[2] = gamma, bias
                norm.running_var.uniform_(0.3, 2)
                norm.running_mean.normal_()
            self.head.weight[1] *= gamma
            self.head.bias[1] = bias

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(self.dense(x)))
        return self.head(torch.relu(self.second(self.depthwise(y))).mean((2, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("faint", [1.0, 1e-3])
@pytest.mark.parametrize(
    ("gamma", "bias"), [(1e-5, 1.0), (0.0, 3.0), (1e-12, -5.0), (-1e-6, 100.0), (1.0, 1e6), (1e-30, 1e4)]
)
@pytest.mark.parametrize("format", ANSWERS)
def test_a_file_gives_what_the_reference_gives_and_that_is_near_float(tmp_path, format, gamma, bias, faint):
    pytest.importorskip(RUNTIMES[format])
    torch.manual_seed(0)
    model, x = Switched(gamma, bias).eval(), torch.randn(1, 3, 8, 8) * faint
    reference = graph_of(model, x, scheme="w8a8")
    with torch.no_grad():
        wanted, expected = model(x), reference(x)
    given = ANSWERS[format](write(reference, x, tmp_path, format=format, scheme="w8a8").path, x)
    # One scale for all outputs: the largest of them determines its steps.
    step = wanted.abs().max() / 127
    assert (expected - wanted).abs().max() <= 4 * step
    assert (given - expected).abs().max() <= 2 * step
