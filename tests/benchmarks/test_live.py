import hashlib
import json
import re

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.live import classify_frames, main
from tests.benchmarks.clips.films import film
from tests.benchmarks.small_streams import streaming_export


@pytest.fixture
def model(tmp_path):
    return streaming_export(tmp_path / "export") / "onnx/fp32/model_step.onnx"


def test_every_frame_of_a_video_is_answered_once(tmp_path, model):
    video = film(tmp_path / "video.mp4", frames=12, fps=10, quadrants=True)
    predictions = list(classify_frames(str(video), model))
    assert [round(prediction.time_s, 2) for prediction in predictions] == [
        number / 10 for number in range(12)
    ]
    assert all(
        prediction.shares.sum() == pytest.approx(1) and prediction.latency_ms > 0
        for prediction in predictions
    )
    assert len(list(classify_frames(str(video), model, every=5))) == 3


def test_every_video_of_a_folder_begins_anew(tmp_path, model):
    (tmp_path / "videos").mkdir()
    for name in ("a.mp4", "b.mp4"):
        film(tmp_path / "videos" / name, frames=4, quadrants=True)
    predictions = list(classify_frames(str(tmp_path / "videos"), model))
    assert len(predictions) == 8
    assert predictions[0].shares == pytest.approx(predictions[4].shares)


def test_the_command_shows_classes_and_latency(tmp_path, model):
    app = typer.Typer()
    app.command()(main)
    video = film(tmp_path / "video.mp4", frames=3, quadrants=True)
    result = CliRunner().invoke(app, [str(video), "--model", str(model)])
    assert result.exit_code == 0, result.output
    assert "left" in result.output and "ms per frame" in result.output


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("97", r"camera 97 \(.*\) cannot be opened: .*; check that it is connected and not in use"),
        ("nowhere.mp4", "nowhere.mp4: no such video or folder; give a camera by its number, such as 0"),
    ],
)
def test_a_source_that_is_not_there_is_refused(source, message, model):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        list(classify_frames(source, model))


def test_a_folder_without_videos_is_refused(tmp_path, model):
    with pytest.raises(
        ValueError, match=re.escape("there is no video in this folder; looked for .avi, .m4v")
    ):
        list(classify_frames(str(tmp_path), model))


def test_a_file_that_its_runtime_does_not_take_is_named(tmp_path, model):
    """The manifest describes it truly; it is no ONNX file."""
    content = model.read_bytes()[:40]
    model.write_bytes(content)
    path = tmp_path / "export" / "manifest.json"
    manifest = json.loads(path.read_text())
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][0]["step"] |= {"size_bytes": len(content), "sha256": digest}
    path.write_text(json.dumps(manifest))
    app = typer.Typer()
    app.command()(main)
    video = film(tmp_path / "video.mp4", frames=3, quadrants=True)
    result = CliRunner().invoke(app, [str(video), "--model", str(model)])
    assert result.exit_code == 3
    assert "onnx/fp32/model_step.onnx failed in its runtime: InvalidProtobuf" in result.output


def test_states_that_lead_nowhere_are_refused(tmp_path, model):
    path = tmp_path / "export" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][0]["step"]["states"] = {"state_sum": "no_such"}
    path.write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="the states of a step program do not map its inputs to its outputs"):
        list(classify_frames(str(tmp_path), model))
