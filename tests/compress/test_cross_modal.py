"""The comparison of teachers by sense runs on generated clips, goes on after a stop, and writes its figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from compress import cross_modal

TINY = Path(__file__).resolve().parents[1] / "recipes" / "tiny.yaml"
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
    arguments = [str(part) for pair in places.items() for part in pair]
    done = _run(*arguments, "--seed", "3", "--seed", "4")
    assert done.exit_code == 0, done.output
    figures = json.loads(results.read_text())
    arms = ["labels", "sound", "picture", "picture and sound"]
    assert [(row["learned_from"], row["seed"]) for row in figures["students"]] == [
        (arm, seed) for seed in (3, 4) for arm in arms
    ]
    assert [row["files"].keys() for row in figures["students"] if "files" in row] == [{"onnx"}] * 4
    top1 = {(row["learned_from"], row["seed"]): row["top1"] for row in figures["students"]}
    for arm, gain in figures["gains"].items():
        each = [100 * (top1[arm, seed] - top1["labels", seed]) for seed in (3, 4)]
        assert gain["each_pp"] == pytest.approx(each)
        assert gain["mean_pp"] == pytest.approx(sum(each) / 2)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n") and "old" not in text
    assert (
        len(re.findall(r"^\| (?:labels|sound|picture|picture and sound) \|", text, re.MULTILINE))
        == 3 + 4 + 4 + 4
    )
    again = _run(*arguments, "--seed", "3", "--seed", "4")
    assert again.exit_code == 0 and again.output.count("already done") >= 3 + 8 * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("teacher=null", "needs a teacher"),
        ("clip.audio=null", "its clips need sound"),
        ("student.inputs=[clip, audio]", "its student may only see"),
        ("stages=[{distill: {epochs: 1}}]", "needs the stages distill and quantize"),
        ("data.labels=[label, thing]", "one label column, not 2"),
    ],
)
def test_a_recipe_that_cannot_be_compared_is_refused(change, message):
    done = _run("--set", change)
    assert done.exit_code == 2
    assert message in re.sub(r"[\s│]+", " ", done.output)
