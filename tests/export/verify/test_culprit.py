from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from export import EXPORTERS
from export.capture.graph import capture
from export.network import export_network
from export.verify.culprit import _halve, _up_to


class ErrorFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(clip).relu()
        bent = torch.erf(x)
        return self.second(bent).mean((2, 3)), x.mean((2, 3))


@pytest.mark.slow
def test_a_file_that_its_runtime_refuses_is_a_failure_with_the_operators_line(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    broken = replace(EXPORTERS["onnx"], module="tests.export.breaking_writer")
    monkeypatch.setitem(EXPORTERS, "onnx", broken)
    torch.manual_seed(0)
    exported = export_network(ErrorFunction(), ["1x3x8x8"], out=tmp_path, formats=["onnx"])
    (outcome,) = exported.outcomes
    assert outcome.status == "failed" and not exported.correct
    assert "the file was written, and its runtime does not run it: " in outcome.reason
    assert "the operator is erf at " in outcome.reason and "bent = torch.erf(x)" in outcome.reason
    assert not list((tmp_path / "onnx" / "fp32").glob("model*")), "nobody can ship it"
    (row,) = json.loads((tmp_path / "manifest.json").read_text())["files"]
    assert (row["status"], row["path"], row["sha256"]) == ("failed", None, None)


@pytest.mark.parametrize("broken", range(9))
def test_bisection_finds_the_first_operator_that_fails(broken):
    assert _halve(list(range(9)), lambda node: node < broken) == (broken - 1, broken)


def test_bisection_returns_the_last_known_bounds():
    assert _halve(list(range(9)), lambda node: True) == (8, 9)
    assert _halve(list(range(9)), lambda node: None if node == 3 else node < 6) == (-1, 8)


def test_a_prefix_returns_the_value_of_its_last_operator():
    model, clip = ErrorFunction().eval(), torch.randn(1, 3, 8, 8)
    program = capture(model, (clip,))
    bent = next(node for node in program.graph.nodes if "erf" in node.name)
    short = _up_to(program, [bent])
    torch.testing.assert_close(short.module()(clip)[0], torch.erf(model.first(clip).relu()))
    assert not any("mean" in node.name for node in short.graph.nodes)
