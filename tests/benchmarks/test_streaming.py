import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.exported import read_export
from benchmarks.files import ExportedFile, FileTensor
from benchmarks.frame_by_frame import FRAME, Stream, step_of
from benchmarks.runtimes import RUNTIMES
from benchmarks.streaming import main, measure_streaming
from tests.benchmarks.small_exports import onnx_export
from tests.benchmarks.small_streams import streaming_export


def test_a_stream_hands_its_state_on_until_it_is_reset(tmp_path):
    (file,) = read_export(streaming_export(tmp_path)).files
    step = step_of(file)
    stream = Stream(step, RUNTIMES["onnx"].load(step, 1))
    frame = np.full((1, 3, 6, 6), 0.25, np.float32)
    outputs = [stream.predict(frame)[0][0, 0] for _ in range(3)]
    assert outputs == pytest.approx([0.25, 0.5, 0.75])
    stream.reset()
    assert stream.predict(frame)[0][0, 0] == pytest.approx(0.25)


def test_a_state_may_be_the_one_that_another_was_a_frame_before(tmp_path):
    def tensor(name):
        return FileTensor(name=name, shape=(1, 1), dtype="float32", layout="NK")

    file = ExportedFile(
        format="onnx",
        scheme="fp32",
        path=tmp_path,
        size_bytes=0,
        inputs=(tensor(FRAME), tensor("state_older"), tensor("state_newer")),
        outputs=(tensor("logits"), tensor("next_newer")),
        states={"state_older": "state_newer", "state_newer": "next_newer"},
    )
    # Answers what it was given two frames ago.
    stream = Stream(file, lambda given: [given[1], given[0]])
    outputs = [stream.predict(np.full((1, 1), number, np.float32))[0].item() for number in (1, 2, 3, 4)]
    assert outputs == [0, 0, 1, 2]


def test_frames_and_clips_are_measured_in_the_same_rounds(tmp_path):
    (cost,) = measure_streaming(streaming_export(tmp_path), rounds=6)
    assert cost.frames == 4 and cost.macs_ratio == 4
    assert cost.clip_ms > 0 and cost.frame_ms > 0 and cost.cheaper.ci95 is not None


def test_an_export_without_steps_is_refused_with_what_to_do(tmp_path):
    message = (
        r"onnx/fp32/model.onnx has no step program; export its network with "
        "`student: {stream: true}`"
    )
    with pytest.raises(ValueError, match=message):
        measure_streaming(onnx_export(tmp_path))


def test_a_step_that_has_changed_since_is_refused(tmp_path):
    path = streaming_export(tmp_path) / "onnx/fp32/model_step.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(
        ValueError, match=re.escape("onnx/fp32/model_step.onnx is not the file that manifest.json")
    ):
        read_export(tmp_path)


def test_the_command_prints_and_writes_the_figures(tmp_path):
    import typer

    app = typer.Typer()
    app.command()(main)
    out = tmp_path / "figures.json"
    result = CliRunner().invoke(app, [str(streaming_export(tmp_path)), "--rounds", "1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "times cheaper" in result.output
    assert json.loads(out.read_text())[0]["format"] == "onnx"
