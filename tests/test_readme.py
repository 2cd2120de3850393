"""Commands, files and links in the README and in `docs/` work."""

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
PAGES = {page: page.read_text() for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = PAGES[ROOT / "README.md"]
TUTORIAL = PAGES[ROOT / "docs" / "tutorial.md"]


def _blocks(text: str, language: str) -> list[str]:
    """Every block of that language; those within lists are indented."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in found]


def _file(text: str, language: str, name: str) -> str:
    """The block whose first line is the name of the file."""
    (block,) = (block for block in _blocks(text, language) if block.startswith(f"# {name}\n"))
    return block


def _command(text: str, start: str) -> list[str]:
    """Arguments of Python for the first command that begins so."""
    lines = (line for block in _blocks(text, "sh") for line in block.splitlines())
    words = next(line for line in lines if line.startswith(start)).partition("#")[0].split()[1:]
    return ["-m", "compress.cli", *words]


def test_the_recipe_in_the_readme_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips.csv").write_text("path,split,action\n")
    recipe_text = next(block for block in _blocks(README, "yaml") if "source: manifest" in block)
    (tmp_path / "mine.yaml").write_text(recipe_text)
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert [stage.verb for stage in recipe.stages] == ["distill", "prune", "quantize"]


@pytest.mark.slow
def test_the_tutorial_leads_from_a_teacher_and_videos_to_files(tmp_path):
    """As written in docs/tutorial.md, with tiny videos, a tiny student and one epoch."""
    for number, split in enumerate(("train", "test")):
        for place, label in enumerate(("run", "sit")):
            folder = tmp_path / "clips" / split / label
            folder.mkdir(parents=True)
            for clip in range(4 - 2 * number):
                unlike = clip + 4 * place + 8 * number  # a clip in two splits at once is refused
                scenes(folder / f"{clip}.mp4", 0.8, 0.4 + 0.1 * unlike)
    scenes(tmp_path / "match.mp4", 1.5, 2.0)
    (tmp_path / "my_teacher.py").write_text(_file(TUTORIAL, "python", "my_teacher.py"))
    (tmp_path / "my_recipe.yaml").write_text(_file(TUTORIAL, "yaml", "my_recipe.yaml"))
    teacher: dict[str, Any] = {}
    exec(_file(TUTORIAL, "python", "my_teacher.py"), teacher)
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
    _run(*_command(TUTORIAL, "pocketreel run my_recipe"), *overrides, cwd=tmp_path)
    assert (tmp_path / "out/my_recipe/export/tflite/w8a8/model.tflite").is_file()
    report = json.loads((tmp_path / "out/my_recipe/report.json").read_text())
    assert [row["name"] for row in report["robustness"]["rows"]] == [
        "teacher",
        "student_float",
        "tflite.fp32",
        "tflite.w8a8",
    ]
    jsonschema.validate(report, json.loads((ROOT / "docs/report.schema.json").read_text()))
    shown = _run(*_command(TUTORIAL, "pocketreel classify"), cwd=tmp_path)
    assert "match.mp4: 2 windows in 3.5 s" in shown and "class: " in shown


@pytest.mark.parametrize("command", SUB_COMMANDS)
def test_every_option_in_the_pages_exists(command):
    lines = [
        line
        for text in PAGES.values()
        for block in _blocks(text, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if f"pocketreel {command} " in line
    ]
    assert lines
    shown = _run("-m", "compress.cli", command, "--help", cwd=ROOT)
    for option in re.findall(r"--[a-z-]+", " ".join(line.partition("#")[0] for line in lines)):
        assert option in shown, option


def test_the_network_in_the_readme_is_exported(tmp_path):
    (tmp_path / "my_net.py").write_text(_file(README, "python", "my_net.py"))
    _run(*_command(README, "pocketreel export my_net"), "--formats", "onnx", cwd=tmp_path)
    assert (tmp_path / "out/my_net/onnx/fp32/model.onnx").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not heading or heading in _anchors(PAGES[target]), link


def _anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub derives them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_every_page_is_in_the_index():
    index = PAGES[ROOT / "docs" / "README.md"]
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name}" in index, page.name


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
