"""Accuracy of networks and files on corrupted clips."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from compress.artifact import Artifact
from compress.folders.writing import read_sealed_json, write_sealed_json
from compress.recipe import RecipeError, parse_recipe
from compress.steps.export import Exported
from compress.steps.pipeline import Run, StageOutcome
from compress.steps.robustness import robustness
from models import STUDENTS
from tests.benchmarks.small_exports import failed_row, onnx_export

RECIPE = """
data: {source: synthetic}
clip: {frames: 4, size: 32, audio: {mels: 16, bins: 16}, text: {length: 8}}
student: {network: mobilenet3d_tiny}
robustness: %s
"""

NONE = Exported(folder=Path("no-export"), rows=[], key="none")


@pytest.fixture
def run(tiny_data, tmp_path):
    """A run that asks for two corruptions at two severities on 4 of 8 test clips."""
    settings = "{corruptions: [noise, missing_sound], severities: [1, 3], clips: 4}"
    return Run(
        recipe=parse_recipe(RECIPE % settings, name="tiny"),
        data=tiny_data,
        folder=tmp_path,
        cache=tmp_path / "cache",
        device=torch.device("cpu"),
        console=Console(quiet=True),
    )


def outcome(run, *inputs):
    torch.manual_seed(0)
    spec = run.data.spec.only(inputs)
    row = STUDENTS["mobilenet3d_tiny"]
    artifact = Artifact(model=row.build(spec, row.options()).eval(), spec=spec)
    return StageOutcome(
        path="stages.0.distill",
        folder="stages/01_distill",
        key=" ".join(inputs),
        artifact=artifact,
        test_logits=(),
        cached=False,
    )


def test_every_network_and_file_is_measured_on_the_same_clips(run):
    onnx_export(run.folder / "export", run.student_spec)
    rows = [
        {"format": "onnx", "scheme": "fp32", "status": "exported", "sha256": "0"},
        {**failed_row("tflite", reason="no"), "sha256": None},
    ]
    exported = Exported(folder=run.folder / "export", rows=rows, key="files")
    teacher = replace(outcome(run, "clip", "audio"), path="teacher")
    student = outcome(run, "clip")
    found = robustness(run, teachers=[teacher], stages=[student], exported=exported)
    assert (found["clips"], found["corruptions"], found["severities"]) == (
        4,
        ["noise", "missing_sound"],
        [1, 3],
    )
    assert [row["name"] for row in found["rows"]] == ["teacher", "student_float", "onnx.fp32"]
    for row, unaffected in zip(found["rows"], ([], ["missing_sound"], ["missing_sound"]), strict=True):
        assert row["unaffected"] == unaffected
        shares = [share for shares in row["corrupted"].values() for share in shares]
        assert len(shares) == 4 and row["mean"] == pytest.approx(sum(shares) / 4)
        assert all(share in (0, 0.25, 0.5, 0.75, 1) for share in (row["clean"], *shares))
        if unaffected:
            assert row["corrupted"]["missing_sound"] == [row["clean"]] * 2
    clips = run.data.test.subset([0, 2, 5, 7]).select(("clip",))
    right = student.artifact.model(*clips.batch(range(4))).argmax(1) == clips.labels[:, 0]
    assert found["rows"][1]["clean"] == right.double().mean().item()


def test_it_is_not_measured_again_unless_something_changed(run):
    first = robustness(run, teachers=[], stages=[outcome(run, "clip")], exported=NONE)
    path = run.folder / "robustness.json"
    content = read_sealed_json(path)
    content["figures"]["clips"] = 99
    write_sealed_json(path, content)
    assert robustness(run, teachers=[], stages=[outcome(run, "clip")], exported=NONE)["clips"] == 99
    path.write_text(path.read_text().replace("99", "98"))
    assert robustness(run, teachers=[], stages=[outcome(run, "clip")], exported=NONE)["clips"] == 4
    again = robustness(run, teachers=[], stages=[outcome(run, "clip", "audio")], exported=NONE)
    assert again["clips"] == first["clips"] == 4


def test_a_recipe_that_does_not_ask_for_it_measures_nothing(run):
    plain = parse_recipe(RECIPE % "null", name="tiny")
    silent = Run(**{**vars(run), "recipe": plain})
    assert robustness(silent, teachers=[], stages=[outcome(run, "clip")], exported=NONE) is None
    assert not (run.folder / "robustness.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{corruptions: [nois]}", r"robustness.corruptions.0.*did you mean 'noise'\? allowed: noise, blur"),
        ("{corruptions: [noise, noise]}", "robustness.corruptions.1.*given twice; given: noise"),
        ("{severities: [4]}", r"robustness.severities.0.*given: 4; allowed: at most 3"),
    ],
)
def test_a_recipe_with_a_fault_is_refused(settings, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe(RECIPE % settings, name="tiny")


def test_corruptions_of_what_the_clips_lack_are_refused():
    silent = (RECIPE % "{corruptions: [missing_sound]}").replace("audio: {mels: 16, bins: 16}, ", "")
    with pytest.raises(
        RecipeError, match="the clips have no audio, which it corrupts; add the key audio to the section clip"
    ):
        parse_recipe(silent, name="tiny")
