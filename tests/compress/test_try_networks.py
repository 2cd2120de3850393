"""A user teacher is checked on random clips before any clip is decoded."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from compress import data as data_module
from compress.data import open_data, spec_before_clips
from compress.distillation.config import DistillationConfig
from compress.recipe import Recipe, parse_recipe
from compress.sources.synthetic import write_synthetic
from compress.steps.try_networks import try_before_clips, try_for_plan, try_networks
from tests.benchmarks.small_exports import write_videos
from tests.specs import small_spec

CPU = torch.device("cpu")
NETWORKS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, spec, more=0):
        super().__init__()
        self.layer = nn.Linear(3, len(spec.labels[0].classes) + more)

    def forward(self, clip):
        return self.layer(clip.mean((2, 3, 4)))

class Infinite(Net):
    def forward(self, clip):
        return super().forward(clip) / 0

class Drawn(Net):
    def forward(self, clip):
        return super().forward(clip) + torch.rand(1)

class Mixed(Net):
    def forward(self, clip):
        return super().forward(clip) - super().forward(clip).mean(0)

class Column(Net):
    def forward(self, clip):
        return {"label": super().forward(clip)}

def more(spec):
    return Net(spec, more=1)

def fails(spec):
    raise KeyError("depth")
"""
STAGED = """
data: {source: synthetic}
teacher: {network: multimodal_tiny, train: {epochs: 1}}
student: {network: mobilenet3d_tiny}
stages: [{distill: {epochs: 1}}]
"""
FAULTS = {
    "fails": r"teacher: factory '\w+:fails' failed: KeyError: 'depth' \(\w+.py:\d+ `raise KeyError",
    "more": "does not contain the weights of this network",
    "Infinite": r"teacher: the teacher \(on random clips\) returns NaN or infinity in the column",
    "Drawn": r"\(on random clips\) gives different logits for the same clips in two calls",
    "Mixed": r"\(on random clips\) gives logits that depend on the other clips in a batch",
    "Column": r"returns a dict with the keys label, not a tensor",
}


@pytest.fixture
def recipe(tmp_path, monkeypatch, request):
    """A recipe whose teacher is the named factory, on data as YAML has it."""
    module = f"tried_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)

    def made(
        factory: str, data: str = "{source: synthetic}", *, classes: int = 8, clip: str = "{}"
    ) -> Recipe:
        weights = {"layer.weight": torch.eye(classes, 3), "layer.bias": torch.zeros(classes)}
        torch.save(weights, tmp_path / "net.pt")
        return parse_recipe(
            f"data: {data}\nclip: {clip}\nstudent: {{network: mobilenet3d_tiny}}\n"
            f"teacher: {{factory: '{module}:{factory}', weights: {tmp_path / 'net.pt'}}}\n",
            name="tried",
        )

    return made


def planned(recipe: Recipe, cache: Path) -> str:
    console = Console(file=io.StringIO(), width=200)
    try_for_plan(recipe, cache=cache, device=CPU, console=console)
    return console.file.getvalue()


@pytest.mark.parametrize("factory", FAULTS)
def test_every_fault_of_a_teacher_is_found_on_random_clips(recipe, factory):
    with pytest.raises(ValueError, match=FAULTS[factory]):
        try_before_clips(recipe(factory), device=CPU)


def test_a_teacher_that_is_right_is_tried_without_a_clip(recipe, tmp_path):
    assert try_before_clips(recipe("Net"), device=CPU)
    assert planned(recipe("Net"), tmp_path / "cache") == "teacher: passed the check on random clips\n"
    assert not (tmp_path / "cache").exists()


def test_a_teacher_without_the_layer_of_a_distillation_loss_is_refused_without_a_clip(recipe):
    losses = {"features": {"teacher": "layr"}}
    stages = parse_recipe(STAGED, name="staged").stages
    settings = DistillationConfig.model_validate({"losses": losses})
    given = recipe("Net").model_copy(update={"distillation": settings, "stages": stages})
    with pytest.raises(
        ValueError, match="teacher: Net has no module 'layr'; its modules, nearest first: layer;"
    ):
        try_before_clips(given, device=CPU)
    assert try_before_clips(given.model_copy(update={"stages": ()}), device=CPU), "nothing is trained"


def test_captions_that_are_not_drawn_yet_leave_the_trial_to_the_run(recipe, tmp_path):
    captioned = recipe("Net", clip="{text: {}}")
    assert not try_before_clips(captioned, device=CPU)
    assert "not checked yet, because captions" in planned(captioned, tmp_path / "cache")


def test_a_recipe_without_such_a_teacher_is_left_alone(tmp_path):
    plain = parse_recipe("data: {source: synthetic}\nstudent: {network: mobilenet3d_tiny}\n", name="plain")
    try_networks(plain, small_spec("clip"), device=CPU)
    assert not try_before_clips(plain, device=CPU)
    assert planned(plain, tmp_path) == ""


@pytest.fixture
def folder(tmp_path) -> str:
    """Files of the user's, two classes, in splits; none of them is a video that could be decoded."""
    videos = write_videos(tmp_path, count=1)
    for number, place in enumerate(("train/up", "train/down", "validation/up", "test/down")):
        (tmp_path / "clips" / place).mkdir(parents=True)
        (tmp_path / "clips" / place / f"{number}.mp4").write_bytes(videos[0].read_bytes()[: -number or None])
    return f"{{source: folder, root: {tmp_path / 'clips'}}}"


def test_a_plan_knows_the_classes_of_a_users_files_without_decoding_them(recipe, folder, tmp_path):
    assert "passed the check on random clips" in planned(recipe("Net", folder, classes=2), tmp_path / "cache")
    with pytest.raises(ValueError, match=r"teacher: .*does not contain the weights of this network"):
        planned(recipe("Net", folder, classes=8), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_run_tries_it_before_it_decodes(recipe, folder, tmp_path, monkeypatch):
    def decodes(*_, **__):
        raise AssertionError("a clip is decoded")

    monkeypatch.setattr(data_module, "open_splits", decodes)
    checked = recipe("Mixed", folder, classes=2)
    with pytest.raises(ValueError, match="gives logits that depend on the other clips in a batch"):
        open_data(
            checked.data, checked.clip, cache=tmp_path / "cache", workers=0, seed=0, console=Console(quiet=True),
            before_decoding=lambda spec: try_networks(checked, spec, device=CPU),
        )  # fmt: skip


def test_the_spec_of_synthetic_clips_is_known_before_they_are_written(tmp_path):
    recipe = parse_recipe(
        "data: {source: synthetic, labels: [label, thing], clips: {train: 16, validation: 8, test: 8}}\n"
        "clip: {frames: 4, size: 32, audio: {}}\nstudent: {network: mobilenet3d_tiny}\n",
        name="both",
    )
    known = spec_before_clips(recipe.data, recipe.clip, inputs=("clip",))
    assert known is not None and known.inputs == ("clip",)
    write_synthetic(recipe.data, tmp_path, workers=0, report=lambda done, total: None)
    with (tmp_path / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    for label in known.labels:
        column = "true_label" if label.name == "label" else label.name
        assert label.classes == tuple(sorted({row[column] for row in rows}))
