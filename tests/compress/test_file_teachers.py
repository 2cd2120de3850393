"""Recipes whose teachers are files, and recipes with several teachers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from compress.recipe import RecipeError, load_recipe, parse_recipe
from compress.steps.pipeline import Run
from compress.steps.train import stage_keys, teacher_key
from tests.commands import run_command_line
from tests.compress.model_files import WEIGHT, mean_colour

TINY = Path(__file__).resolve().parents[1] / "recipes" / "tiny.yaml"
OUTPUTS = "outputs: {label: {}}"


@pytest.fixture
def file(tmp_path) -> Path:
    return mean_colour(tmp_path / "teacher.onnx")


def recipe(teachers: str, *, student: str = "{network: mobilenet3d_tiny}", more: str = "") -> str:
    stages = "stages: [{distill: {epochs: 1}}]"
    return "\n".join(("data: {source: synthetic}", teachers, f"student: {student}", stages, more))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("outputs: {word: {}}", r"teacher.outputs.word.*the data has no such label column.*'?label"),
        (f"{OUTPUTS}, inputs: {{audio: {{}}}}", r"teacher.inputs.audio.*the clips have no audio"),
        (
            f"{OUTPUTS}, inputs: {{clip: {{layout: NCHH}}}}",
            r"teacher.inputs.clip.layout.*names each axis of NCTHW once, and may leave out N, T",
        ),
        (f"{OUTPUTS}, inputs: {{clip: {{range: [1, 1]}}}}", "range gives black and white the same value"),
        (f"{OUTPUTS}, weight: 2", "teacher.weight.*has no effect on a single one"),
        (f"{OUTPUTS}, cache: {{top_k: 0}}", "teacher.cache.top_k.*out of range.*at least 1"),
        (f"{OUTPUTS}, network: modular", "teacher.*the network has more than one origin"),
        ("weight: 1", "teacher.outputs.*required key is missing"),
    ],
)
def test_wrong_settings_of_a_file_are_refused(file, settings, message):
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        parse_recipe(recipe(f"teacher: {{file: {file}, {settings}}}"), name="run")


def test_a_file_without_a_runtime_is_refused(tmp_path):
    (tmp_path / "net.h5").touch()
    with pytest.raises(RecipeError, match=r"net.h5 has no runtime; .* ends in .onnx, .tflite, .pt2"):
        parse_recipe(recipe(f"teacher: {{file: {tmp_path / 'net.h5'}, {OUTPUTS}}}"), name="run")


def test_a_runtime_that_is_not_installed_is_named(file, monkeypatch):
    monkeypatch.setattr("compress.recipe.teacher_checks.installed", lambda names: {})
    with pytest.raises(RecipeError, match=r"teacher.file.*ONNX Runtime is not installed: pip install"):
        parse_recipe(recipe(f"teacher: {{file: {file}, {OUTPUTS}}}"), name="run")


def test_a_file_cannot_be_pruned(file):
    text = recipe(f"teacher: {{file: {file}, {OUTPUTS}}}", student="{from: teacher}")
    with pytest.raises(RecipeError, match=r"student.from.*a file has no layers to prune or to quantize"):
        parse_recipe(text, name="run")


def test_a_file_has_no_layers(file):
    losses = "distillation: {losses: {kd: 1, features: {teacher: video.0}}}"
    expected = (
        r"distillation.losses.features .*compares layers, but teacher.file has outputs only.*allowed: kd, dkd"
    )
    with pytest.raises(RecipeError, match=expected):
        parse_recipe(recipe(f"teacher: {{file: {file}, {OUTPUTS}}}\n{losses}"), name="run")


TABLE = "{network: multimodal_tiny, train: {epochs: 1}"


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        (f"teachers: [{TABLE}}}]", r"teachers.*wrong number of entries.*2 to 8; for one, use the section"),
        ("teachers: {network: multimodal_tiny}", r"teachers.*wrong type.*a list"),
        (
            f"teacher: {TABLE}}}\nteachers: [{TABLE}}}, {TABLE}}}]",
            "teachers.*also has the section teacher; keep one of both",
        ),
        (f"teachers: [{TABLE}}}, {{network: modulra}}]", r"teachers.1.network.*unknown network.*modular"),
        (f"teachers: [{TABLE}}}, {TABLE}, weight: 0}}]", "teachers.1.weight.*out of range"),
        (f"teachers: [{TABLE}}}, {TABLE}, inputs: [text]}}]", "teachers.1.inputs.0.*the clips have no text"),
        (f"teachers: [{TABLE}}}, {TABLE}, tasks: {{word: 1}}}}]", "teachers.1.tasks.word.*no column for"),
    ],
)
def test_wrong_settings_of_several_teachers_are_refused(teachers, message):
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        parse_recipe(recipe(teachers), name="run")


def test_a_student_cannot_start_from_several_teachers():
    text = recipe(f"teachers: [{TABLE}}}, {TABLE}}}]", student="{from: teacher}")
    with pytest.raises(RecipeError, match=r"1 fault\n.*student.from.*start from one alone"):
        parse_recipe(text, name="run")


def test_a_geometry_that_cannot_cover_the_same_time_is_refused():
    text = recipe(
        f"teacher: {TABLE}, clip: {{frames: 5}}}}", more="clip: {frames: 8, sampling: strided, stride: 2}"
    )
    with pytest.raises(RecipeError, match=r"teacher.clip.frames.*5 frames cannot cover the 16 source frames"):
        parse_recipe(text, name="run")


def test_gates_know_every_teacher():
    gates = "gates: [{metric: models.teacher_1.top1, min: 0}, {metric: models.teacher.top1, min: 0}]"
    with pytest.raises(RecipeError) as refused:
        parse_recipe(recipe(f"teachers: [{TABLE}}}, {TABLE}}}]", more=gates), name="run")
    assert "1 fault" in str(refused.value) and "gates.1.metric" in str(refused.value)


def run_of(text: str, data, cache: Path) -> Run:
    return Run(
        recipe=parse_recipe(text, name="run"),
        data=data,
        folder=cache / "out",
        cache=cache,
        device=torch.device("cpu"),
        console=Console(quiet=True),
    )


CLIP = "clip: {frames: 4, size: 32, audio: {mels: 16, bins: 16}, text: {length: 8}}"


def test_the_key_of_a_file_has_its_content_its_mapping_and_its_runtime(
    file, tiny_data, tmp_path, monkeypatch
):
    def key(settings: str = OUTPUTS) -> str:
        return teacher_key(
            run_of(recipe(f"teacher: {{file: {file}, {settings}}}", more=CLIP), tiny_data, tmp_path)
        )

    first = key()
    assert key() == first
    found = [first, key(f"{OUTPUTS}, inputs: {{clip: {{range: [0, 255]}}}}")]
    assert key(f"{OUTPUTS}, cache: {{top_k: 2}}") == first, "the student alone depends on it"
    mean_colour(file, weight=2 * WEIGHT)
    found.append(key())
    monkeypatch.setattr("compress.steps.train.installed", lambda names: {"onnxruntime": "9.9"})
    found.append(key())
    assert len(set(found)) == 4


def test_the_keys_of_stages_have_all_teachers_and_their_weights(tiny_data, tmp_path):
    def key(weight: str, *further: str) -> str:
        text = recipe(f"teachers: [{TABLE}}}, {TABLE}, {weight}}}]", more=CLIP)
        return stage_keys(run_of(text, tiny_data, tmp_path), teacher="first", further=further)[-1]

    found = [key("weight: 1", "second"), key("weight: 2", "second"), key("weight: 1", "other")]
    found.append(key("cache: {top_k: 2}", "second"))
    assert len(set(found)) == 4 and key("weight: 1", "second") == found[0]


@pytest.fixture
def command(tmp_path):
    """Runs the tiny recipe with other teachers; returns the finished process and the output folder."""

    def run(*settings: str):
        given = (
            "gates=[]",
            "export.formats=[onnx]",
            "stages=[{distill: {epochs: 1, batch: 8, views: 1}}]",
            *settings,
        )
        overrides = [word for setting in given for word in ("--set", setting)]
        places = ["--out", tmp_path / "out", "--cache", tmp_path / "cache"]
        environment = {**os.environ, "COLUMNS": "200"}
        return run_command_line(
            ["compress.run", TINY, *overrides, *places], env=environment
        ), tmp_path / "out"

    return run


@pytest.mark.slow
def test_two_files_with_their_own_geometry_teach_a_student(command, file, tmp_path):
    other = mean_colour(tmp_path / "other.onnx", shape=(2, 8, 64, 64, 3), axes=(1, 2, 3))
    first = f"{{file: {file}, {OUTPUTS}, weight: 3, cache: {{top_k: 4}}}}"
    second = (
        f"{{file: {other}, {OUTPUTS}, inputs: {{clip: {{layout: NTHWC}}}}, clip: {{frames: 8, size: 64}}}}"
    )
    settings = (
        "teacher=null",
        f"teachers=[{first}, {second}]",
        "gates=[{metric: models.teacher_1.top1, min: 0}]",
    )
    done, out = command(*settings)
    assert done.returncode == 0, done.stderr + done.stdout
    report = json.loads((out / "report.json").read_text())
    models = report["models"]
    assert models["teacher"] is None
    for name, network in (("teacher_0", "teacher.onnx"), ("teacher_1", "other.onnx")):
        assert (models[name]["network"], models[name]["parameters"], models[name]["macs"]) == (
            network,
            None,
            None,
        )
        assert (out / "stages" / f"00_{name}" / "test_logits.safetensors").is_file()
    # Both files compute the mean colour, which hardly depends on frames and pixels.
    assert abs(models["teacher_0"]["top1"] - models["teacher_1"]["top1"]) < 0.2
    assert [gate["metric"] for gate in report["gates"]] == ["models.teacher_1.top1"]
    stages = {one["path"]: one for one in report["stages"]}
    assert any(note.startswith("runs in ONNX Runtime ") for note in stages["teacher_0"]["notes"])
    assert any(
        "teacher_0: 4 of 8 classes of label are cached" in n for n in stages["stages.0.distill"]["notes"]
    )
    assert (
        "teacher.onnx" in (out / "report.md").read_text() and "Teacher 1" in (out / "report.html").read_text()
    )
    again, _ = command(*settings)
    assert again.returncode == 0 and again.stdout.count("already done") == 3 + 2


@pytest.mark.slow
def test_a_file_that_cannot_teach_ends_the_run_before_clips_are_decoded(command, file, tmp_path):
    mean_colour(file, weight=np.full((3, 8), np.nan, np.float32))
    done, out = command(f"teacher={{file: {file}, {OUTPUTS}}}")
    assert done.returncode == 2 and "teacher: the teacher (on random clips) returns NaN" in done.stderr
    file.write_bytes(file.read_bytes()[:100])
    done, out = command(f"teacher={{file: {file}, {OUTPUTS}}}")
    assert done.returncode == 2 and "cannot be opened" in done.stderr
    assert not (out / "stages").exists()


def test_the_plan_names_files_and_weights(file):
    from compress.recipe.plan import plan

    text = recipe(f"teachers: [{{file: {file}, {OUTPUTS}}}, {TABLE}, weight: 2, clip: {{size: 96}}}}]")
    steps = {step.name: step.description for step in plan(parse_recipe(text, name="run")).steps}
    assert steps["teacher_0"] == f"{file} for label"
    assert steps["teacher_1"] == "train multimodal_tiny: epochs 1; clip (size 96); weight 2"
    assert load_recipe(TINY).named_teachers.keys() == {"teacher"}
