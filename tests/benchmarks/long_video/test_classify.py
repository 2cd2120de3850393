"""Whole videos through exported files: the function and the command."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.classify import app
from benchmarks.clips.cache import open_clips
from benchmarks.clips.rows import ClipRow
from benchmarks.exported import read_model
from benchmarks.long_video.aggregate import softmax
from benchmarks.long_video.classify import classify
from benchmarks.long_video.windows import Dynamic, Sliding
from tests.benchmarks.clips.films import film
from tests.benchmarks.long_video.scenes import scenes
from tests.benchmarks.small_exports import (
    ALL_INPUTS,
    VIDEO_ONLY,
    expected_logits,
    onnx_export,
    onnx_with_broken_neighbours,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return onnx_export(tmp_path_factory.mktemp("export")) / "onnx/fp32/model.onnx"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return scenes(tmp_path_factory.mktemp("videos") / "scenes.mp4", 1.5, 2.5, tone=True)


def command(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_every_input_reaches_the_file_as_the_clip_readers_make_it(tmp_path, video):
    model = onnx_export(tmp_path / "export", ALL_INPUTS) / "onnx/fp32/model.onnx"
    (prediction,) = classify([video], model, windows=Sliding(segment_s=2, stride_s=2), caption="a b", top=3)
    rows = [
        ClipRow(
            path=video,
            split="test",
            labels={"move": "left", "colour": "red"},
            text="a b",
            start_s=segment.window.start_s,
            end_s=segment.window.end_s,
        )
        for segment in prediction.segments
    ]
    clips = open_clips(rows, ALL_INPUTS, cache=tmp_path / "cache")
    inputs = dict(zip(ALL_INPUTS.inputs, (each.numpy() for each in clips.batch([0, 1])), strict=True))
    wanted = expected_logits(ALL_INPUTS, inputs)
    means = np.mean([softmax(logits.astype(np.float64)) for logits in wanted["logits_move"]], axis=0)
    assert dict(prediction.top["move"]) == pytest.approx(
        dict(zip(("left", "right", "up"), means, strict=True)), abs=1e-4
    )
    assert set(prediction.top) == {"move", "colour"} and prediction.unreadable is None


def test_the_command_writes_every_window_as_json(tmp_path, model, video):
    out = tmp_path / "answers.json"
    done = command(
        video, "--model", model, "--windows", "dynamic", "--aggregate", "vote", "--top", 2, "--out", out
    )
    assert done.exit_code == 0, done.output
    assert "2 windows in 4.0 s" in done.output
    content = json.loads(out.read_text())
    assert content["windows"] == {"kind": "dynamic", "min_s": 1.0, "max_s": 8.0, "change": 0.25}
    (one,) = content["videos"]
    assert [(each["start_s"], each["end_s"]) for each in one["segments"]] == [(0, 1.5), (1.5, 4)]
    assert len(one["segments"][0]["top"]["move"]) == 2
    assert sum(each["score"] for each in one["top"]["move"]) == pytest.approx(1)


def test_labelled_videos_give_top1(tmp_path, model, video):
    names = {label: tmp_path / "data/test" / label for label in ("left", "right", "up")}
    for folder in names.values():
        folder.mkdir(parents=True)
        (folder / "a.mp4").write_bytes(video.read_bytes())
    out = tmp_path / "answers.json"
    done = command("--data", tmp_path / "data", "--model", model, "--out", out)
    assert done.exit_code == 0, done.output
    assert "move: top-1 33.3 % of 3 videos (95 %: 6.1 to 79.2)" in done.output
    assert json.loads(out.read_text())["accuracy"]["move"]["top1"] == pytest.approx(1 / 3)
    cut = tmp_path / "cut.csv"
    cut.write_text(f"path,split,move,start_s,end_s\n{video},test,left,0,1\n")
    refused = command("--data", cut, "--model", model)
    assert refused.exit_code == 2
    assert "1 rows have a span (start_s, end_s)" in refused.output
    both = command(video, "--data", cut, "--model", model)
    assert both.exit_code == 2 and "give either videos or labelled videos (--data)" in both.output


def test_a_video_that_cannot_be_read_does_not_stop_the_others(tmp_path, model, video):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    done = command(tmp_path / "bad.mp4", video, "--model", model, "--overlap-s", 0.5)
    assert done.exit_code == 2
    assert "bad.mp4: not classified: cannot be opened" in done.output
    assert "scenes.mp4: 3 windows in 4.0 s" in done.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-s", 1], "--min-s has no effect with --windows sliding; leave it out"),
        (["--windows", "dynamic", "--stride-s", 1], "--stride-s has no effect with --windows dynamic"),
        (["--stride-s", 1, "--overlap-s", 1], "--stride-s and --overlap-s are alternatives"),
        (["--aggregate", "median"], "aggregate is 'median'; allowed: mean, max, vote"),
        (["--text", "left"], "a caption was given, but the file takes only clip"),
        (["--out", "/nowhere/a.json"], "its folder does not exist"),
    ],
)
def test_wrong_options_are_explained(model, video, options, message):
    done = command(video, "--model", model, *options)
    assert done.exit_code == 2
    assert message in done.output


def test_a_caption_is_asked_for(tmp_path, video):
    model = onnx_export(tmp_path / "export", ALL_INPUTS) / "onnx/fp32/model.onnx"
    with pytest.raises(ValueError, match=r"the file takes a caption .* give one with --text"):
        list(classify([video], model, windows=Dynamic()))


def test_a_file_that_its_runtime_refuses_ends_with_3(tmp_path, video):
    export_dir = onnx_with_broken_neighbours(tmp_path / "export")
    done = command(video, "--model", export_dir / "tflite/fp32/model.tflite")
    assert done.exit_code == 3
    assert "LiteRT" in done.output


def test_a_model_has_to_be_a_file_of_an_export(tmp_path, model):
    assert read_model(model)[0] == VIDEO_ONLY
    with pytest.raises(FileNotFoundError, match="no such file; give a file of an export"):
        read_model(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"no manifest\.json in the folders above it"):
        read_model(tmp_path / "model.onnx")
    stranger = model.parent / "other.onnx"
    stranger.write_bytes(b"")
    with pytest.raises(ValueError, match=r"does not list this file; it lists onnx/fp32/model\.onnx"):
        read_model(stranger)
    manifest = model.parents[2] / "manifest.json"
    content = json.loads(manifest.read_text())
    copied = tmp_path / "shapes/onnx/fp32"
    copied.mkdir(parents=True)
    (copied / "model.onnx").write_bytes(model.read_bytes())
    (copied.parents[1] / "manifest.json").write_text(json.dumps({**content, "spec": None}))
    with pytest.raises(ValueError, match="specifies only the shapes of its inputs"):
        read_model(copied / "model.onnx")


def test_a_gap_in_the_time_stamps_comes_to_an_end(tmp_path, model):
    path = film(tmp_path / "a.mp4", frames=40, pts=[*range(20), *range(625_000, 625_020)])
    done = command(path, "--model", model)
    assert done.exit_code == 0 and "windows in 62502.0 s" in done.output
    assert "has no new frame for 62498.1 s from 1.9 s on: a pause or damage" in done.output


def test_limits_are_options(model, video):
    done = command(video, "--model", model, "--limit", "max_pixels=3000")
    assert (
        done.exit_code == 2
        and "its frames are 64x48, 3,072 pixels, over the limit max_pixels = 3,000" in done.output
    )
    done = command(video, "--model", model, "--limit", "max_pixel=3000")
    assert done.exit_code == 2 and "nearest: max_pixels" in done.output
