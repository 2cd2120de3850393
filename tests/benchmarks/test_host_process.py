"""A runtime in its own process: correct outputs, correct memory figures, and isolated failures."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.device import SessionFailed, Unavailable
from benchmarks.exported import read_export
from benchmarks.files import ExportedFile, FileTensor
from benchmarks.host_process import Worker
from tests.benchmarks.small_exports import (
    ALL_INPUTS,
    VIDEO_ONLY,
    example,
    expected_logits,
    file_row,
    onnx_export,
    onnx_with_broken_neighbours,
    write_endless_onnx,
    write_manifest,
    write_onnx,
)


@pytest.fixture
def file(tmp_path):
    return read_export(onnx_export(tmp_path)).files[0]


def infer(worker, inputs):
    worker.begin_infer(inputs)
    return worker.end_infer()


def test_logits_are_right_whatever_the_axis_order(tmp_path):
    spec, layouts = ALL_INPUTS, {"clip": "NTWCH", "audio": "NBCM", "text": "LN"}
    inputs = write_onnx(tmp_path / "onnx/fp32/model.onnx", spec, layouts=layouts, text_dtype="int32")
    row = file_row(tmp_path, format="onnx", path="onnx/fp32/model.onnx", inputs=inputs, spec=spec)
    write_manifest(tmp_path, spec=spec, files=[row])
    clips = example(spec, clips=3)
    with Worker(read_export(tmp_path).files[0]) as worker:
        assert worker.load(threads=1).startswith("ONNX Runtime 1.")
        given = infer(worker, clips)
    for logits, expected in zip(given, expected_logits(spec, clips).values(), strict=True):
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-4)


def test_every_run_is_timed(file):
    with Worker(file) as worker:
        worker.load(threads=1)
        worker.hold(example(VIDEO_ONLY, clips=1))
        elapsed_ns = worker.time_runs(7)
    assert elapsed_ns.shape == (7,)
    assert (elapsed_ns > 0).all()


def test_memory_counts_the_files_weights(tmp_path):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(size=(4_000_000, 3)).astype("float32")
    graph = helper.make_graph(
        [
            helper.make_node("Shape", ["clip"], ["shape"]),
            helper.make_node("Gather", ["weights", "first"], ["logits"]),
        ],
        "large",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, VIDEO_ONLY.shape("clip"))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
        [
            numpy_helper.from_array(weights, "weights"),
            helper.make_tensor("first", TensorProto.INT64, [1], [0]),
        ],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    with Worker(video_file(path)) as worker:
        worker.load(threads=1)
        memory = worker.memory()
    assert memory.model_rss_bytes > weights.nbytes
    assert memory.peak_rss_bytes > memory.model_rss_bytes + 20 * 2**20


def test_the_process_does_not_load_torch():
    heavy = ("torch", "scipy", "av")
    command = f"import benchmarks.host_process, sys; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.skipif(sys.platform == "darwin", reason="here Core ML is available")
def test_core_ml_elsewhere_than_on_apple_is_unavailable(tmp_path):
    package = read_export(onnx_with_broken_neighbours(tmp_path), formats=["coreml"]).files[0]
    with (
        Worker(package) as worker,
        pytest.raises(Unavailable, match="runs on Apple systems only; the file is converted, not measured"),
    ):
        worker.load(threads=1)


def test_a_runtime_that_cannot_be_imported_names_its_extra(file, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libfoo.so is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        Worker(file) as worker,
        pytest.raises(
            Unavailable,
            match=r"ONNX Runtime cannot be imported \(libfoo.so is missing\): pip install '\.\[onnx\]' in a ",
        ),
    ):
        worker.load(threads=1)


def test_a_damaged_file_is_refused_with_the_runtimes_words(file):
    file.path.write_bytes(file.path.read_bytes()[:200])
    with (
        Worker(file) as worker,
        pytest.raises(SessionFailed, match=r"ONNX Runtime failed in 'load': .*[Pp]rotobuf"),
    ):
        worker.load(threads=1)


def test_a_file_that_is_not_as_described_is_refused(file):
    other = video_file(file.path, output="scores")
    with (
        Worker(other) as worker,
        pytest.raises(SessionFailed, match="the outputs scores, but the file has logits"),
    ):
        worker.load(threads=1)


def test_logits_of_another_shape_are_refused(file):
    with Worker(video_file(file.path, classes=5)) as worker:
        worker.load(threads=1)
        with pytest.raises(
            SessionFailed, match=r"'logits' with shape \[1, 5\], but the file returns \[1, 3\]"
        ):
            infer(worker, example(VIDEO_ONLY, clips=1))


def test_an_inference_that_never_ends_is_ended(tmp_path):
    write_endless_onnx(tmp_path / "model.onnx")
    with Worker(video_file(tmp_path / "model.onnx")) as worker:
        worker.load(threads=1)
        worker.hold(example(VIDEO_ONLY, clips=1))
        with pytest.raises(SessionFailed, match="did not respond to 'time_runs' within 1 s and was killed"):
            worker.time_runs(1, limit_s=1.0)


def test_a_process_that_dies_is_reported_with_its_signal(tmp_path):
    write_endless_onnx(tmp_path / "model.onnx")
    with Worker(video_file(tmp_path / "model.onnx")) as worker:
        worker.load(threads=1)
        worker.begin_infer(example(VIDEO_ONLY, clips=1))
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(SessionFailed, match=r"was killed by SIGKILL \(often: out of memory\) in 'infer'"):
            worker.end_infer()


def test_the_process_ends_with_its_parent(file):
    script = (
        "import sys, time; from tests.benchmarks.test_host_process import video_file; from pathlib import Path;"
        "from benchmarks.host_process import Worker; worker = Worker(video_file(Path(sys.argv[1])));"
        "worker.load(threads=1); print(worker.pid, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(file.path)], stdout=subprocess.PIPE, text=True, cwd=root
    )
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline_s = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not _runs(pid)


def video_file(path, *, output="logits", classes=3):
    return ExportedFile(
        format="onnx",
        scheme="fp32",
        path=path,
        size_bytes=path.stat().st_size,
        inputs=(FileTensor(name="clip", shape=VIDEO_ONLY.shape("clip"), dtype="float32", layout="NCTHW"),),
        outputs=(FileTensor(name=output, shape=(1, classes), dtype="float32", layout="NK"),),
    )


def _runs(pid):
    """Whether the process exists and is no zombie that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
