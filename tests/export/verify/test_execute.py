"""Runs files in a separate process, and tests files and runtimes that fail."""

import numpy as np
import pytest

from export import EXPORTERS
from export.capture.inputs import parse_inputs
from export.manifest import FileSpec
from export.verify.execute import execute

SPEC = FileSpec(inputs=parse_inputs(["1x3x2x4x4"]), outputs=(), description={})


def run(tmp_path, *, format="onnx", content="no model"):
    path = tmp_path / f"model{EXPORTERS[format].extension}"
    path.write_text(content)
    np.save(tmp_path / "clip.npy", np.zeros((2, 1, 3, 2, 4, 4), "float32"))
    return execute(
        path, format=format, network=SPEC, file=SPEC, samples=tmp_path, log=tmp_path / "convert.log"
    )


@pytest.mark.parametrize("format", ["onnx", "tflite", pytest.param("executorch", marks=pytest.mark.slow)])
def test_a_file_that_its_runtime_refuses(tmp_path, format):
    executed = run(tmp_path, format=format)
    assert executed.available and executed.outputs is None
    assert executed.reason


def test_a_runtime_that_crashes(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import os\nprint('dying', flush=True)\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    executed = run(tmp_path)
    assert executed.available and executed.reason == "the runtime crashed its process with SIGABRT"
    assert "dying" in (tmp_path / "convert.log").read_text()


def test_a_missing_runtime_leaves_the_file_unchecked(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no such runtime')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    executed = run(tmp_path)
    assert not executed.available
    assert executed.reason == "ImportError: no such runtime"
