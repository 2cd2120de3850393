"""Every runtime that runs here, on files of its own format."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from benchmarks import runtimes
from benchmarks.exported import read_export
from benchmarks.host_process import Worker
from benchmarks.latency import measure_latency
from benchmarks.machine import usable_cores
from tests.benchmarks.small_exports import (
    ALL_INPUTS,
    example,
    expected_logits,
    file_row,
    write_executorch,
    write_manifest,
    write_onnx,
    write_tflite,
)
from tests.export.shared_weights import two_layers_with_the_same_weights

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow

WRITERS = {
    "onnx": ("model.onnx", write_onnx),
    "tflite": ("model.tflite", write_tflite),
    "executorch": ("model.pte", write_executorch),
}


@pytest.fixture(scope="session")
def export_dir(tmp_path_factory):
    """The same network with all inputs and two outputs in every format that runs everywhere."""
    root = tmp_path_factory.mktemp("every_format")
    rows = []
    for format, (name, write) in WRITERS.items():
        inputs = write(root / format / name, ALL_INPUTS)
        rows.append(file_row(root, format=format, path=f"{format}/{name}", inputs=inputs, spec=ALL_INPUTS))
    write_manifest(root, spec=ALL_INPUTS, files=rows)
    return root


@pytest.mark.parametrize("format", WRITERS)
def test_logits_are_right(export_dir, format):
    (file,) = read_export(export_dir, formats=[format]).files
    clips = example(ALL_INPUTS, clips=3)
    with Worker(file) as worker:
        worker.load(threads=usable_cores())
        worker.begin_infer(clips)
        given = worker.end_infer()
    expected = expected_logits(ALL_INPUTS, clips)
    for tensor, logits in zip(file.outputs, given, strict=True):
        np.testing.assert_allclose(logits, expected[tensor.name], rtol=1e-4, atol=1e-4)


def test_executorch_starts_without_its_exporter():
    script = (
        "import sys; from benchmarks.runtimes import RUNTIMES\n"
        "RUNTIMES['executorch'].start()\n"
        "assert 'executorch.exir' not in sys.modules and 'torch._dynamo' not in sys.modules\n"
        "from executorch.exir import to_edge"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_all_are_timed_side_by_side(export_dir):
    found = measure_latency(read_export(export_dir), rounds=2, starts=1)
    assert [one.format for one in found] == list(WRITERS)
    assert [one.unavailable for one in found] == [None, None, None]
    assert [one.runtime.rsplit(" ", 1)[0] for one in found] == ["ONNX Runtime", "LiteRT", "ExecuTorch"]


def test_a_file_that_could_be_wrong_on_this_processor_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "lacks_vnni", lambda: True)
    path = tmp_path / "model.onnx"
    path.write_bytes(two_layers_with_the_same_weights())
    if platform.machine() == "x86_64":
        with pytest.raises(
            ValueError, match=r"(?s)has no VNNI.*x64quantprecision = 1.*run it on a processor with"
        ):
            runtimes.onnx_session(onnxruntime, path, onnxruntime.SessionOptions())
    monkeypatch.setattr(runtimes, "lacks_vnni", lambda: False)
    runtimes.onnx_session(onnxruntime, path, onnxruntime.SessionOptions())
    path.write_bytes(b"no model")
    monkeypatch.setattr(runtimes, "lacks_vnni", lambda: True)
    with pytest.raises(Exception, match="Protobuf parsing failed"):
        runtimes.onnx_session(onnxruntime, path, onnxruntime.SessionOptions())


@pytest.mark.skipif(sys.platform != "linux", reason="how a damaged delegate dies depends on the system")
def test_a_runtime_that_aborts_does_not_stop_the_others(export_dir, tmp_path):
    rows = []
    for format in ("executorch", "onnx"):
        (file,) = read_export(export_dir, formats=[format]).files
        data = file.path.read_bytes()
        if format == "executorch":
            # The delegate quotes this marker in its complaint; bytes that are no text then end the process.
            assert data.count(b"XH00") == 1
            data = data.replace(b"XH00", b"\xff\xff\xff\x7f")
        copy = tmp_path / format / "fp32" / file.path.name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(data)
        inputs = write_onnx(tmp_path / "unused.onnx", ALL_INPUTS)
        rows.append(
            file_row(
                tmp_path,
                format=format,
                path=f"{format}/fp32/{file.path.name}",
                inputs=inputs,
                spec=ALL_INPUTS,
            )
        )
    write_manifest(tmp_path, spec=ALL_INPUTS, files=rows)
    broken, good = measure_latency(read_export(tmp_path), rounds=6, starts=1)
    assert broken.failed
    assert (
        "executorch/fp32/model.pte: ExecuTorch was killed by SIGABRT in 'load'; last output: "
        in broken.unavailable
    )
    assert good.rounds == 6
