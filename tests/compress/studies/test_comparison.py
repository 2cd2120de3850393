"""The comparison of networks: a tiny one from start to end, and the acceptance of figures."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

from compress.command import USAGE
from compress.folders.locks import held
from compress.studies.comparison import __main__ as command
from compress.studies.comparison import files, networks
from compress.studies.comparison.acceptance import geometric_mean, judge
from compress.studies.comparison.clips import CLASSES, scene_clips, scene_inputs
from compress.studies.comparison.files import check_peers
from compress.studies.comparison.fitting import fit
from compress.studies.comparison.measure import Effort, measure
from compress.studies.comparison.networks import NETWORKS, Row
from compress.studies.comparison.page import page
from models import STUDENTS
from models.spec import AudioSpec, ClipSpec, LabelSpec, VideoSpec

TINY = Row(network="mobilenet3d_tiny", kind="depthwise", frames=4, size=32, steps=12, int8_faster=True)
SMALL_EFFORT = Effort(clips=16, rounds=6, fitted=32, formats=("onnx",))


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    found = measure(TINY, tmp_path_factory.mktemp("tiny"), effort=SMALL_EFFORT, notify=lambda what: None)
    return json.loads(json.dumps(found, allow_nan=False))


def test_every_network_of_the_table_exists_and_takes_its_options():
    for row in NETWORKS.values():
        STUDENTS[row.network].options(width=row.width)
        networks.spec_of(row, classes=CLASSES)


def test_clips_of_one_scene_are_alike_but_never_the_same():
    video = VideoSpec(frames=4, size=16, resize=16)
    clips, labels = scene_clips(video, count=2 * CLASSES, seed=0)
    again, _ = scene_clips(video, count=2 * CLASSES, seed=0)
    others, _ = scene_clips(video, count=2 * CLASSES, seed=1)
    assert torch.equal(clips, again) and not torch.equal(clips, others)
    assert clips.min() >= 0 and clips.max() <= 1
    distances = torch.cdist(clips.flatten(1), others.flatten(1))
    assert torch.equal(labels[distances.argmin(1)], labels)


def test_scenes_have_sounds_of_their_own():
    names = tuple(f"scene {number}" for number in range(CLASSES))
    spec = ClipSpec(
        video=VideoSpec(frames=4, size=16, resize=16),
        audio=AudioSpec(mels=16, bins=16),
        labels=(LabelSpec(name="scene", classes=names),),
    )
    (clips, sounds), labels = scene_inputs(spec, count=2 * CLASSES, seed=0)
    (_, others), _ = scene_inputs(spec, count=2 * CLASSES, seed=1)
    assert sounds.shape == (2 * CLASSES, 1, 16, 16) and len(clips) == len(sounds)
    assert not torch.equal(sounds, others)
    distances = torch.cdist(sounds.flatten(1), others.flatten(1))
    assert torch.equal(labels[distances.argmin(1)], labels)


@pytest.mark.parametrize("steps", [0, 12])
def test_fitted_networks_answer_clearly_and_the_same_for_the_same_seed(steps):
    row = Row(network="mobilenet3d_tiny", kind="depthwise", frames=4, size=32, steps=steps)
    fitted, again = (fit(row, seed=3, clips=16, known=32) for _ in range(2))
    assert fitted.accuracy >= 0.9 and fitted.margin > 0.2
    assert (fitted.accuracy, fitted.margin) == (again.accuracy, again.margin)


@pytest.mark.slow
def test_one_network_gives_every_file_and_figure(figures):
    found = {(file["origin"], file["format"]): file for file in figures["files"]}
    assert set(found) == {("naive", "onnx"), ("float", "onnx"), ("int8", "onnx")}
    for origin, file in found.items():
        assert file["status"] == "exported", (origin, file["reason"])
        assert file["latency"]["rounds"] == 6
    assert found["float", "onnx"]["parity"]["float"]["relative_error"] <= 1e-4
    assert found["int8", "onnx"]["parity"]["count"] == 16
    assert "reference" in found["int8", "onnx"]["parity"]
    assert found["int8", "onnx"]["coverage"]["float_convolutions"] == 0
    assert list(figures["ratios"]) == ["naive / float, onnx", "float / int8, onnx"]
    assert figures["ratios"]["naive / float, onnx"]["ci95"][0] > 0


@pytest.mark.slow
def test_the_page_says_what_was_found(figures):
    text = page(
        {"tiny": {**figures, "code": "0123456"}},
        failed={"other": "RuntimeError: no memory"},
        effort=SMALL_EFFORT,
        machine="a computer",
        versions="torch 2",
        command="python -m compress.studies.comparison",
    )
    assert "| tiny | 4 x 32 | 1 |" in text
    assert "| other | all | failed | RuntimeError: no memory |" in text
    widths = {len(block.split("\n")[0].split("|")) for block in text.split("\n\n") if block.startswith("|")}
    assert len(widths) > 3
    for block in text.split("\n\n"):
        rows = [line for line in block.split("\n") if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1, block


def _network(speedup: float, *, row: Row = TINY, agreement: float = 1.0, share: float = 1.0) -> dict:
    coverage = {"share": share, "partitions": 1, "float_convolutions": 0}
    parity = {"float": {"relative_error": 1e-6, "top1_agreement": agreement}}
    return {
        "row": asdict(row),
        "files": [
            {"origin": o, "format": f, "status": "exported", "parity": parity, "coverage": coverage}
            for o in ("float", "int8")
            for f in ("onnx", "tflite", "executorch", "coreml")
        ],
        "ratios": {"naive / float, onnx": {"value": speedup}}
        | {f"float / int8, {f}": {"value": 1.8} for f in ("onnx", "tflite", "executorch")},
    }


def test_lines_are_judged_one_by_one():
    lines = {
        line.text: line for line in judge({"a": _network(4), "b": _network(9, agreement=0.9, share=0.5)})
    }
    by_start = {text[:24]: line for text, line in lines.items()}
    assert by_start["exported to all four for"].holds
    assert by_start["float error at most 0.00"].holds
    assert by_start["int8 top-1 as in float o"].found == "b onnx: 90.0%; b tflite: 90.0%; b executorch: 90.0%"
    means = [line for line in lines.values() if "geometric mean" in line.text]
    assert [line.found for line in means] == ["6.00x over 2 networks"] * 2
    faster = {
        line.text.rpartition(", ")[2]: line.holds for line in lines.values() if "as fast as" in line.text
    }
    assert faster == {"ONNX Runtime": False, "LiteRT": True, "ExecuTorch": False}
    assert "b float tflite: 50.0%, 1 partitions" in by_start["all of a CNN in one part"].found
    assert next(line for line in lines.values() if "OpenVINO" in line.text).holds is None


def test_nothing_holds_of_nothing():
    assert {line.holds for line in judge({})} == {None}


def test_ratios_are_averaged_as_ratios():
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Calls the command on a table of one network whose measurement is counted, not done."""
    calls = []

    def measured(row, folder, *, effort, notify):
        calls.append(row)
        if row.network == "broken":
            raise RuntimeError("no such network")
        return (
            _network(5.0, row=row)
            | {
                "parameters": 1,
                "classifier": {"accuracy": 1.0, "margin": 1.0},
                "files": [file | {"latency": None} for file in _network(5.0)["files"]],
            }
            | {"ratios": {k: {"value": 5.0, "ci95": None} for k in _network(5.0)["ratios"]}}
        )

    broken = Row(network="broken", kind="dense", frames=4, size=32)
    monkeypatch.setattr(command, "measure", measured)
    monkeypatch.setattr(command, "NETWORKS", {"tiny": TINY, "broken": broken})
    app = Typer()
    app.command()(command.main)
    places = ["--out", tmp_path / "out", "--page", tmp_path / "page.md", "--results", tmp_path / "all.json"]

    def invoke(*arguments: str):
        return CliRunner().invoke(app, [*map(str, places), *arguments]), calls

    return invoke


def test_finished_networks_are_kept_until_settings_change(run, tmp_path):
    first, calls = run("--networks", "tiny")
    assert first.exit_code == command.OK, first.output
    again, _ = run("--networks", "tiny")
    assert "cached" in again.output and len(calls) == 1
    run("--networks", "tiny", "--seed", "1")
    assert len(calls) == 2
    assert list(json.loads((tmp_path / "all.json").read_text())["networks"]) == ["tiny"]


def test_figures_of_other_code_are_kept_where_that_is_asked_for_and_say_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_source", lambda: "0123456789")
    run("--networks", "tiny")
    monkeypatch.setattr(command, "_source", lambda: "9876543210")
    told, calls = run("--networks", "tiny", "--any-code")
    assert "cached, code 0123456" in told.output and len(calls) == 1
    assert "| 0123456 |" in (tmp_path / "page.md").read_text()
    _, calls = run("--networks", "tiny", "--any-code", "--seed", "1")
    assert len(calls) == 2, "other settings are measured"
    run("--networks", "tiny")
    assert len(calls) == 3 and "| 9876543 |" in (tmp_path / "page.md").read_text()


def test_a_network_that_fails_does_not_stop_the_others(run, tmp_path):
    result, calls = run("--networks", "broken,tiny")
    assert result.exit_code == command.FAILED and len(calls) == 2
    assert "| broken | all | failed | RuntimeError: no such network |" in (tmp_path / "page.md").read_text()


def test_a_folder_that_another_comparison_holds_is_refused(run, tmp_path):
    with held(tmp_path / "out"):
        result, calls = run("--networks", "tiny")
    assert result.exit_code == USAGE and not calls and not (tmp_path / "page.md").exists()
    assert "out is in use by process" in result.output
    result, calls = run("--networks", "tiny")
    assert result.exit_code == command.OK and len(calls) == 1


def test_unknown_networks_and_missing_peers_are_refused(run, monkeypatch):
    result, _ = run("--networks", "c4d")
    assert result.exit_code == USAGE and "'c4d' is not in the table" in result.output
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="--peers needs openvino and nncf, which cannot be imported: pip"):
        check_peers()
