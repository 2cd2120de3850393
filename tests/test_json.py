"""`--json`: standard output holds the JSON document alone; messages for people go to standard error."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.long_video.scenes import scenes
from tests.benchmarks.small_exports import onnx_export
from tests.benchmarks.small_streams import streaming_export
from tests.commands import run_command_line

ROOT = Path(__file__).resolve().parent.parent
NETWORK = """
import torch
from torch import nn

print("printed by a user's module")


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())


class Gamma(nn.Module):
    def forward(self, x):
        return torch.lgamma(x + 1).mean((2, 3, 4))
"""


def ask(module: str, *arguments: object, code: int = 0) -> tuple[Any, str]:
    """What the command printed on standard output as JSON, and its standard error."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = run_command_line([module, *arguments, "--json"], env=environment, timeout=600)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def network(tmp_path):
    (tmp_path / "my_net.py").write_text(NETWORK)
    return tmp_path / "my_net.py"


def test_bench(tmp_path):
    out = tmp_path / "figures.json"
    figures, said = ask("benchmarks.run", onnx_export(tmp_path / "export"), "--rounds", 1, "--out", out)
    assert figures == json.loads(out.read_text())
    assert figures["devices"][0]["files"][0]["latency"]["p50_ms"] > 0
    assert "onnx fp32" in said


def test_stream(tmp_path):
    costs, said = ask("benchmarks.streaming", streaming_export(tmp_path), "--rounds", 1)
    assert costs[0]["frame_ms"] > 0
    assert "Cost of a new frame" in said


def test_classify(tmp_path):
    model = onnx_export(tmp_path / "export") / "onnx/fp32/model.onnx"
    video = scenes(tmp_path / "café.mp4", 1.5, 1.5)
    answers, said = ask("benchmarks.classify", video, "--model", model)
    assert answers["videos"][0]["path"] == str(video) and answers["videos"][0]["segments"]
    assert "2 windows in 3.0 s" in said


def test_export(tmp_path, network):
    shape = ("--shape", "1x3x4x16x16", "--formats", "onnx")
    result, said = ask("export.run", f"{network}:make", *shape, "--out", tmp_path / "out")
    assert result["right"] is True and result["manifest"] == str(tmp_path / "out" / "manifest.json")
    assert result["files"] == json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    assert "printed by a user's module" in said and "manifest: " in said


def test_check(network):
    result, said = ask("export.run", f"{network}:Gamma", "--shape", "1x3x4x16x16", "--check", code=3)
    assert result["refused"] is True
    found = next(row for row in result["findings"] if row["severity"] == "refused")
    assert found["operator"] == "lgamma" and found["scheme"] == "fp32"
    assert "lgamma" in said
