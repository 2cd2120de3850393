"""What the README tells people to type has to work."""

from __future__ import annotations

import json
import os
import re
import textwrap
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

from compress.cli import SUB_COMMANDS
from compress.recipe import load_recipe
from tests.benchmarks.long_video.scenes import scenes
from tests.commands import run_command_line

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    """Every block of that language; those within lists are indented."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", README, flags=re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(text) for _, text in found]


def _file(language: str, name: str) -> str:
    """The block that is the file of this name: its first line says so."""
    (block,) = (block for block in _blocks(language) if block.startswith(f"# {name}\n"))
    return block


def _command(start: str) -> list[str]:
    """What Python is given to do what the first command does that begins so."""
    lines = (line for block in _blocks("sh") for line in block.splitlines())
    words = next(line for line in lines if line.startswith(start)).partition("#")[0].split()[1:]
    return ["-m", "compress.cli", *words]


def test_the_recipe_in_the_readme_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips.csv").write_text("path,split,action\n")
    recipe_text = next(block for block in _blocks("yaml") if "source: manifest" in block)
    (tmp_path / "mine.yaml").write_text(recipe_text)
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert [stage.verb for stage in recipe.stages] == ["distill", "prune", "quantize"]


@pytest.mark.slow
def test_the_tutorial_leads_from_a_teacher_and_videos_to_files(tmp_path):
    """As the README says it, with tiny videos, a tiny student and one epoch."""
    for number, split in enumerate(("train", "test")):
        for place, label in enumerate(("run", "sit")):
            folder = tmp_path / "clips" / split / label
            folder.mkdir(parents=True)
            for clip in range(4 - 2 * number):
                unlike = clip + 4 * place + 8 * number  # a clip in two splits at once is refused
                scenes(folder / f"{clip}.mp4", 0.8, 0.4 + 0.1 * unlike)
    scenes(tmp_path / "match.mp4", 1.5, 2.0)
    (tmp_path / "my_teacher.py").write_text(_file("python", "my_teacher.py"))
    (tmp_path / "my_recipe.yaml").write_text(_file("yaml", "my_recipe.yaml"))
    teacher: dict[str, Any] = {}
    exec(_file("python", "my_teacher.py"), teacher)
    torch.save(teacher["Teacher"](classes=2).state_dict(), tmp_path / "my_teacher.pt")
    smaller = {
        "clip.size": 32,
        "clip.frames": 4,
        "student.network": "mobilenet3d_tiny",
        "stages.0.distill.epochs": 1,
        "stages.0.distill.batch": 4,
        "benchmark.rounds": 1,
        "export.formats": "[tflite]",
    }
    overrides = [part for key, value in smaller.items() for part in ("--set", f"{key}={value}")]
    _run(*_command("pocketreel run my_recipe"), *overrides, cwd=tmp_path)
    assert (tmp_path / "out/my_recipe/export/tflite/w8a8/model.tflite").is_file()
    report = json.loads((tmp_path / "out/my_recipe/report.json").read_text())
    names = [row["name"] for row in report["robustness"]["rows"]]
    assert names == ["teacher", "student_float", "tflite.fp32", "tflite.w8a8"]
    jsonschema.validate(report, json.loads((ROOT / "docs/report.schema.json").read_text()))
    shown = _run(*_command("pocketreel classify"), cwd=tmp_path)
    assert "match.mp4: 2 windows in 3.5 s" in shown and "class: " in shown


@pytest.mark.parametrize("command", SUB_COMMANDS)
def test_every_option_in_the_readme_exists(command):
    lines = [
        line for block in _blocks("sh") for line in block.splitlines() if f"pocketreel {command} " in line
    ]
    assert lines
    shown = _run("-m", "compress.cli", command, "--help", cwd=ROOT)
    for option in re.findall(r"--[a-z-]+", " ".join(line.partition("#")[0] for line in lines)):
        assert option in shown, option


def test_the_network_in_the_readme_is_exported(tmp_path):
    (tmp_path / "my_net.py").write_text(_file("python", "my_net.py"))
    _run(*_command("pocketreel export my_net"), "--formats", "onnx", cwd=tmp_path)
    assert (tmp_path / "out/my_net/onnx/fp32/model.onnx").is_file()


def test_every_file_that_the_readme_links_exists():
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link


def test_every_make_target_in_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def _run(*arguments: str, cwd: Path) -> str:
    """What a Python command prints, started in a folder of the user's."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    assert arguments[0] == "-m"
    done = run_command_line(arguments[1:], cwd=cwd, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
