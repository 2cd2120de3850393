"""The comparison of teachers by modality runs on generated clips, resumes after a stop, and writes its figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from compress.studies import cross_modal

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny.yaml"
PAGE = "before\n<!-- generated: cross_modal -->\nold\n<!-- end -->\nafter\n"


def _run(*arguments: str):
    app = Typer()
    app.command()(cross_modal.main)
    return CliRunner().invoke(app, [str(TINY), "--set", "export.formats=[onnx]", *arguments])


@pytest.mark.slow
def test_the_command_compares_teachers_and_writes_page_and_figures(tmp_path):
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(PAGE)
    places = {"--out": tmp_path / "out", "--cache": tmp_path / "cache", "--page": page, "--results": results}
    arguments = [*(str(part) for pair in places.items() for part in pair), "--seed", "3"]
    done = _run(*arguments)
    assert done.exit_code == 0, done.output
    figures = json.loads(results.read_text())
    arms = ["labels", "sound", "picture", "picture and sound"]
    assert [(row["learned_from"], row["seed"]) for row in figures["students"]] == [(arm, 3) for arm in arms]
    assert [row["files"].keys() for row in figures["students"]] == [{"onnx"}] * 4
    assert [row["epochs"] for row in figures["teachers"].values()] == [2, 4, 2]
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n") and "old" not in text
    rows = re.findall(r"^\| (?:labels|audio|video|video and audio) \|", text, re.MULTILINE)
    assert len(rows) == 3 + 4 + 4 + 4
    again = _run(*arguments)
    assert again.exit_code == 0 and again.output.count("already done") == 3 + 4 * 2 + 4


def test_gains_are_paired_by_seed_and_drawn_by_seed_and_file():
    right = {("labels", 0): [0, 0, 1, 1], ("labels", 1): [0, 1, 1, 1], ("sound", 0): [1, 1, 1, 1]}
    right["sound", 1] = [1, 1, 1, 0]
    students = [
        {"learned_from": arm, "seed": seed, "right": row, "right_int8": row}
        for (arm, seed), row in right.items()
    ]
    found = cross_modal._gain(students, ("sound", "right"), ("labels", "right"), files=["a", "a", "b", "b"])
    assert found["each_pp"] == [50, 0]
    assert found["mean_pp"] == 25
    assert found["ci95_pp"] == [-50, 100], "both files and both seeds are the same"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("teacher=null", "needs a teacher"),
        ("clip.audio=null", "its clips need audio"),
        ("student.inputs=[clip, audio]", "its student must take only video"),
        ("stages=[{distill: {epochs: 1}}]", "needs the stages distill and quantize"),
        ("data.labels=[label, thing]", "one label column, not 2"),
    ],
)
def test_a_recipe_that_cannot_be_compared_is_refused(change, message):
    done = _run("--set", change)
    assert done.exit_code == 2
    assert message in re.sub(r"[\s│]+", " ", done.output)
