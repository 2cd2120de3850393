"""The command `pocketreel bench`: table, JSON, exit codes."""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.run import app
from tests.benchmarks.small_exports import (
    VIDEO_ONLY,
    failed_row,
    onnx_export,
    onnx_with_broken_neighbours,
    write_manifest,
    write_videos,
)
from tests.commands import run_command_line

ROOT = Path(__file__).parents[2]


@pytest.fixture
def export_dir(tmp_path):
    return onnx_export(tmp_path / "export")


@pytest.fixture
def manifest(tmp_path):
    """Four clips of two classes."""
    with (tmp_path / "field.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "split", "move"])
        for index, path in enumerate(write_videos(tmp_path, count=4)):
            table.writerow([path.name, "test", ["left", "up"][index % 2]])
    return tmp_path / "field.csv"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_module_runs_as_a_command(export_dir):
    done = run_command_line(["benchmarks.run", export_dir, "--rounds", 1])
    assert done.returncode == 0, done.stderr
    assert "onnx fp32" in done.stdout
    assert "latency on random inputs; no accuracy without clips (--data)" in done.stdout


def test_a_manifest_gives_accuracy(export_dir, manifest, tmp_path):
    out = tmp_path / "figures.json"
    done = run(export_dir, "--data", manifest, "--rounds", 6, "--out", out)
    assert done.exit_code == 0, done.output
    assert "top-1 %" in done.output
    assert f"accuracy on 4 clips of {manifest}, split test" in done.output
    figures = json.loads(out.read_text())
    (device,) = figures["devices"]
    (row,) = device["files"]
    assert figures["schema_version"] == 2
    assert device["name"] == device["description"]["name"] == "host"
    assert figures["data"]["clips"] == row["accuracy"]["clips"] == 4
    assert row["accuracy"]["top1"] in (0, 0.25, 0.5, 0.75, 1)
    assert row["latency"]["rounds"] == 6
    assert row["ratio_to_first"]["value"] == 1
    assert row["latency"]["conditions"]["reference"] == "onnx.fp32"
    assert "conditions: onnx.fp32 measured twice: " in done.output
    assert figures["preparation"]["clips"] == 4
    assert "beside inference, a clip takes " in done.output


def test_the_predictions_for_each_clip_are_written_next_to_the_figures(export_dir, manifest, tmp_path):
    out = tmp_path / "figures.json"
    folder = tmp_path / "figures.json.predictions"
    command = (export_dir, "--rounds", 1, "--out", out)
    for split in ("test", "test"):  # the second time in place of the first
        done = run(*command, "--data", manifest, "--split", split)
        assert done.exit_code == 0 and f"predictions for each clip: {folder}" in done.output, done.output
    (row,) = json.loads(out.read_text())["devices"][0]["files"]
    with (folder / "onnx.fp32.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["path"] for line in lines] == ["0.mp4", "1.mp4", "2.mp4", "3.mp4"]
    assert [line["move"] for line in lines] == ["left", "up", "left", "up"]
    assert sum(line["move_correct"] == "1" for line in lines) == 4 * row["accuracy"]["top1"]
    logits = np.load(folder / "onnx.fp32.npz")["logits"]
    classes = json.loads((export_dir / "manifest.json").read_text())["spec"]["labels"][0]["classes"]
    assert [line["move_prediction"] for line in lines] == [classes[k] for k in logits.argmax(1)]
    (folder / "mine.txt").write_text("mine")
    assert run(*command).exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["mine.txt"], (
        "figures without clips have no predictions"
    )
    (folder / "onnx.fp32.csv").write_text("mine")
    refused = run(*command, "--data", manifest)
    assert refused.exit_code == 2 and "was not written by Pocketreel" in refused.output
    assert (folder / "onnx.fp32.csv").read_text() == "mine"


def test_clips_left_out_are_named(export_dir, manifest):
    (manifest.parent / "1.mp4").write_bytes(b"no video")
    refused = run(export_dir, "--data", manifest, "--rounds", 1)
    assert refused.exit_code == 2
    assert "1.mp4" in refused.output
    skipped = run(export_dir, "--data", manifest, "--rounds", 1, "--unreadable", "skip")
    assert skipped.exit_code == 2
    assert "1 of 4 clips cannot be read (25.0%), more than the allowed share (5.0%)" in skipped.output
    allowed = ("--unreadable", "skip", "--max-unreadable-share", 0.25)
    skipped = run(export_dir, "--data", manifest, "--rounds", 1, *allowed)
    assert skipped.exit_code == 0
    assert "accuracy on 3 clips" in skipped.output
    assert f"skipped: {manifest.parent / '1.mp4'}: " in skipped.output


def test_a_file_that_fails_is_said_and_gives_exit_code_3(tmp_path):
    done = run(onnx_with_broken_neighbours(tmp_path), "--rounds", 1)
    assert done.exit_code == 3
    assert "tflite.fp32: tflite/fp32/model.tflite: LiteRT failed in 'load'" in done.output
    assert "executorch.fp32: not exported: operator aten.fft has no kernel" in done.output


@pytest.mark.skipif(sys.platform == "darwin", reason="here Core ML is available")
def test_what_cannot_run_here_is_no_failure_beside_what_can(tmp_path):
    export_dir = onnx_with_broken_neighbours(tmp_path)
    done = run(export_dir, "--formats", "onnx, coreml", "--rounds", 1)
    assert done.exit_code == 0
    assert (
        "coreml.fp32: Core ML runs on Apple systems only; the file is converted, not measured" in done.output
    )
    assert run(export_dir, "--formats", "coreml", "--rounds", 1).exit_code == 3


def test_nothing_measured_gives_exit_code_3(tmp_path):
    write_manifest(tmp_path, spec=VIDEO_ONLY, files=[failed_row("onnx", reason="no kernel")])
    assert run(tmp_path).exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "phone"], "device 'phone' is unknown; allowed: host"),
        (["--formats", "onyx"], "format 'onyx' is unknown; known are onnx"),
        (["--threads", "0"], "Invalid value for '--threads'"),
        (["--threads", "4096"], "threads is 4096: device 'host' has"),
        (["--out", "no/such/folder.json"], "its folder does not exist"),
        (["--data", "nowhere.csv"], "nowhere.csv: no such manifest"),
        (["--data", "nowhere.csv", "--where", "place"], "--where 'place': give COLUMN=VALUE"),
        (["--unreadable", "maybe"], "Invalid value for '--unreadable'"),
    ],
)
def test_wrong_arguments_give_exit_code_2(export_dir, arguments, message):
    done = run(export_dir, *arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_a_folder_that_is_no_export_gives_exit_code_2(tmp_path):
    done = run(tmp_path)
    assert done.exit_code == 2
    assert "is not an export: it has no manifest.json" in done.output


def test_help_names_the_exit_codes():
    assert "Exit codes: 0 measured; 2 an argument" in run("--help").output


def test_the_documented_commands_exist():
    text = (ROOT / "docs/measuring.md").read_text()
    commands = re.findall(r"^pocketreel bench .*$", text, flags=re.MULTILINE)
    text = re.sub(r"python -m compress\.studies[^`]*", "", text)
    options = set(re.findall(r"--[a-z][a-z-]*", text))
    helped = run("--help").output
    assert len(commands) == 2
    assert {option for option in options if option not in helped} == set()
