"""Students from anywhere: the teacher itself, a network of the user, weights of an earlier run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from compress.recipe import RecipeError, parse_recipe
from tests.commands import run_command_line

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "recipes" / "tiny.yaml"
NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(3, 16, 3, stride=(1, 2, 2), padding=1), nn.BatchNorm3d(16), nn.ReLU(),
            nn.Conv3d(16, 32, 3, stride=(1, 2, 2), padding=1), nn.BatchNorm3d(32), nn.ReLU(),
        )
        self.head = nn.Linear(32, len(spec.labels[0].classes))

    def forward(self, clip):
        return self.head(self.layers(clip).mean((2, 3, 4)))

class Branching(Net):
    def forward(self, clip):
        return super().forward(clip if clip.sum() > 0 else -clip)

def untrained_classes(spec):
    net = Net(spec)
    net.head = nn.Linear(32, 3)
    return net
"""
BASE = "data: {source: synthetic}\nteacher: {network: multimodal_tiny, train: {epochs: 1, batch: 8}}\n"
PRUNE = "{prune: {macs: 0.7, epochs: 1, batch: 8, round_to: 2}}"
STAGES = f"[{PRUNE}, {{quantize: {{calibration_clips: 8, batch: 8}}}}]"


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def command(tmp_path, cache):
    """Runs the tiny recipe with other settings; returns the finished process and the output folder."""
    (tmp_path / "my_net.py").write_text(NETWORK)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "200"}

    def run(*settings: str, out: str = "out", more: tuple[str, ...] = ()):
        overrides = [
            word
            for setting in ("gates=[]", "export.formats=[onnx]", *settings)
            for word in ("--set", setting)
        ]
        places = ["--out", tmp_path / out, "--cache", cache]
        done = run_command_line(["compress.run", TINY, *overrides, *places, *more], env=environment)
        return done, tmp_path / out

    return run


@pytest.mark.slow
def test_the_teacher_itself_is_pruned_quantized_and_exported_with_all_its_inputs(command):
    done, out = command("student={from: teacher}", f"stages={STAGES}")
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    teacher, student = report["models"]["teacher"], report["models"]["student_float"]
    assert student["network"] == "teacher" and student["parameters"] < teacher["parameters"]
    assert report["stages"][1]["before"]["macs"] == teacher["macs"], "it starts as the teacher"
    manifest = json.loads((out / "export" / "manifest.json").read_text())
    assert [one["name"] for one in manifest["files"][0]["inputs"]] == ["clip", "audio", "text"]
    again, _ = command("student={from: teacher}", f"stages={STAGES}")
    assert again.returncode == 0 and again.stdout.count("already done") == 1 + 2 + 2


@pytest.mark.slow
def test_a_network_of_the_user_starts_with_its_weights(command, tmp_path):
    import importlib.util

    spec = importlib.util.spec_from_file_location("my_net_here", tmp_path / "my_net.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.manual_seed(0)
    label = type("Label", (), {"classes": tuple("abcdefgh")})
    net = module.Net(type("Spec", (), {"labels": (label,)}))
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    student = f"student={{factory: 'my_net:Net', weights: {tmp_path / 'net.safetensors'}}}"
    done, out = command(
        "teacher=null", student, "stages=[{quantize: {calibration_clips: 8}}]", "export.schemes=[fp32]"
    )
    assert done.returncode == 0, done.stderr
    given, kept = net.state_dict(), load_file(tmp_path / "net.safetensors")
    assert all(torch.equal(given[name], kept[name]) for name in given)
    assert (
        json.loads((out / "report.json").read_text())["models"]["student_quantized"]["network"]
        == "my_net:Net"
    )
    pruned, out = command(student, f"stages={STAGES}", out="pruned")
    assert pruned.returncode == 0, pruned.stderr
    weights = load_file(out / "stages" / "01_prune" / "weights.safetensors")
    assert weights["layers.0.weight"].shape[0] < 16
    start = f"student={{factory: 'my_net:Net', weights: {out / 'stages/01_prune/weights.safetensors'}}}"
    refused, _ = command(start, "stages=[]", out="refused")
    assert refused.returncode == 2 and "does not contain the weights of this network" in refused.stderr


@pytest.mark.slow
def test_a_student_goes_on_from_a_pruned_stage_of_an_earlier_run(command):
    first, out = command(f"stages=[{{distill: {{epochs: 1, batch: 8}}}}, {STAGES[1:]}", out="first")
    assert first.returncode == 0, first.stderr
    weights = out / "stages" / "02_prune" / "weights.safetensors"
    pruned = json.loads((out / "report.json").read_text())["stages"][2]
    done, second = command("teacher=null", f"student.weights={weights}", "stages=[]", out="second")
    assert done.returncode == 0, done.stderr
    (stage,) = json.loads((second / "report.json").read_text())["stages"]
    assert stage["after"]["parameters"] == pruned["after"]["parameters"]
    assert stage["after"]["correct"] == pruned["after"]["correct"]
    assert stage["notes"] == ["its weights are given"]
    other, _ = command("student={network: x3d_tiny, weights: %s}" % weights, out="third")  # noqa: UP031
    assert other.returncode == 2 and "does not contain the weights of this network" in other.stderr
    assert "teacher: top-1" not in other.stdout, "before the teacher"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factory", "fault"),
    [
        ("Branching", "student: it cannot be exported: "),
        ("untrained_classes", r"student: the student \(on random clips\)"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused_before_any_clip(command, factory, fault):
    import re

    done, out = command(f"student={{factory: 'my_net:{factory}'}}", more=("--plan",))
    assert done.returncode == 2 and re.search(fault, done.stderr), done.stderr
    assert not out.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "near"),
    [("student={factory: 'my_net:Net'}", "layers.0"), ("student={network: mobilenet3d_tiny}", "video.0")],
)
def test_a_layer_in_float_that_the_student_lacks_is_refused_before_any_clip(command, student, near):
    quantize = f"{{calibration_clips: 8, batch: 8, float_layers: [{near.replace('.', 'z.')}]}}"
    stages = f"stages=[{{distill: {{epochs: 1, batch: 8}}}}, {{quantize: {quantize}}}]"
    done, out = command(student, stages, more=("--plan",))
    assert done.returncode == 2 and "no layer is named" in done.stderr and near in done.stderr, done.stderr
    assert "stages.1.quantize.float_layers.0" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (BASE + "student: {network: x3d_s, factory: 'm:f'}", "more than one origin"),
        (BASE + "student: {from: teacher, network: x3d_s}", "more than one origin"),
        (BASE + "student: {from: student}", "teacher"),
        ("data: {source: synthetic}\nstudent: {from: teacher}", "the recipe has no section teacher"),
        (BASE + "student: {from: teacher, inputs: [clip]}", "inputs"),
        (BASE + "student: {network: x3d_s, weights: nowhere.pt}", "no such file"),
        (BASE + "student: {network: x3d_tiny}\nstages: [{quantize: {}}]", "or give its weights"),
    ],
)
def test_faults_of_a_student_are_found_in_the_recipe(text, fault):
    with pytest.raises(RecipeError, match=fault):
        parse_recipe(text, name="faulty")


def test_a_trained_student_needs_no_distillation():
    recipe = parse_recipe(f"{BASE}student: {{from: teacher}}\nstages: [{{quantize: {{}}}}]", name="trained")
    assert recipe.student.title == "teacher" and recipe.to_dict()["student"] == {"from": "teacher"}
    assert parse_recipe(json.dumps(recipe.to_dict()), name="again") == recipe
