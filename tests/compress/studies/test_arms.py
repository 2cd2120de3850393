"""A study of arms runs on generated clips, resumes after a stop, and writes its figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from typer import Typer
from typer.testing import CliRunner

from compress.studies import arms
from compress.studies.arms_page import _teachers, tables

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny.yaml"
STUDIES = Path(__file__).resolve().parents[3] / "benchmarks" / "studies"
ALONE = "distillation={label_weight: 1.0, losses: {kd: 0}}"


def _study(folder: Path, **changes: object) -> Path:
    content = {
        "recipe": str(TINY),
        "arms": {"labels": [ALONE], "from sound": ["teacher.inputs=[audio]"]},
        "seeds": [3, 4],
        "page": str(folder / "page.md"),
        "block": "arms",
        "results": str(folder / "results.json"),
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}, sort_keys=False))
    (folder / "page.md").write_text("before\n<!-- generated: arms -->\nold\n<!-- end -->\nafter\n")
    return path


def _run(study: Path, *arguments: object):
    app = Typer()
    app.command()(arms.main)
    places = ("--out", study.parent / "out", "--cache", study.parent / "cache")
    return CliRunner().invoke(app, [str(word) for word in (study, *places, *arguments)])


@pytest.mark.slow
def test_every_arm_is_trained_with_every_seed_and_compared_with_the_first(tmp_path):
    study = _study(tmp_path)
    settings = ("--set", "export.formats=[onnx]", "--set", "stages=[{distill: {epochs: 1, batch: 8}}]")
    done = _run(study, *settings)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "results.json").read_text())
    order = [(one["seed"], one["arm"]) for one in figures["students"]]
    assert order == [(seed, arm) for seed in (3, 4) for arm in ("labels", "from sound")]
    assert figures["stages"] == ["stages.0.distill"]
    assert all(one["files"].keys() == {"onnx.fp32"} for one in figures["students"])
    top1 = {(one["arm"], one["seed"]): one["stages"][0]["top1"] for one in figures["students"]}
    expected = [100 * (top1["from sound", seed] - top1["labels", seed]) for seed in (3, 4)]
    assert figures["gains"]["stages.0.distill"]["from sound"]["each_pp"] == pytest.approx(expected)
    for one in figures["students"]:
        lost = figures["losses"][one["arm"]]["onnx.fp32"]["each_pp"][[3, 4].index(one["seed"])]
        assert lost == pytest.approx(100 * (one["files"]["onnx.fp32"]["top1"] - one["stages"][0]["top1"]))
    assert [one["inputs"] for one in figures["teachers"]["from sound"]] == [["audio"]]
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n") and "old" not in text
    assert len(re.findall(r"^\| from sound \|", text, re.MULTILINE)) == 1 + 1 + 1
    again = _run(study, *settings)
    assert again.exit_code == 0 and again.output.count("already done") == 2 + 4 * 2
    one = _run(study, *settings, "--seed", 3, "--arm", "from sound")
    assert one.exit_code == 0 and one.output.count("already done") == 2 + 2 * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"labels": []}}, "arms: Dictionary should have at least 2 items"),
        ({"sedes": [1]}, "sedes: Extra inputs are not permitted"),
        ({"arms": {"a": [], "b": ["data.difficulty=0.5"]}}, "arm 'b': its data differ"),
        ({"arms": {"a": [], "b": ["stages=[{distill: {epochs: 1}}]"]}}, "arm 'b': its stages differ"),
        ({"arms": {"a": [], "b": ["stages.0.distill.epoch=1"]}}, "stages.0.distill.epoch: unknown key"),
        (
            {"arms": {"a": ["data.labels=[label, thing]"], "b": ["data.labels=[label, thing]"]}},
            "compares one",
        ),
        ({"block": "others"}, "page.md: has no block for the table"),
    ],
)
def test_a_study_that_cannot_be_compared_is_refused(tmp_path, changes, message):
    done = _run(_study(tmp_path, **changes))
    assert done.exit_code == 2, done.output
    assert message in re.sub(r"[\s│]+", " ", done.output)


def test_an_unknown_arm_is_refused(tmp_path):
    done = _run(_study(tmp_path), "--arm", "from text")
    assert done.exit_code == 2
    assert "--arm 'from text': the study has the arms labels, from sound" in re.sub(
        r"[\s│]+", " ", done.output
    )


def test_a_teacher_that_is_a_file_has_no_number_of_parameters():
    file = {"inputs": ["clip"], "top1": 0.9, "ci95": (0.85, 0.93), "parameters": None, "seconds": 2}
    *_, row, size = _teachers({"ensemble": [file, {**file, "parameters": 95_000}]})
    assert row == "| ensemble | clip | 90.0 [85.0, 93.0] | a file | 2 |"
    assert size.endswith("| 95 k | 2 |")


@pytest.mark.parametrize("study", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_tables_of_published_studies_are_those_of_their_figures(study):
    given = arms.read_study(study)
    root = STUDIES.parents[1]
    figures = json.loads((root / given.results).read_text())
    assert tables(figures) in (root / given.page).read_text()
    assert figures["overrides"] == {name: list(one) for name, one in given.arms.items()}
