"""What the README tells people to type has to work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from compress.recipe import load_recipe

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_recipe_in_the_readme_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips.csv").write_text("path,split,action\n")
    (tmp_path / "mine.yaml").write_text(_blocks("yaml")[0])
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert [stage.verb for stage in recipe.stages] == ["distill", "prune", "quantize"]


def test_the_factory_in_the_readme_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "networks.py").write_text("def build_teacher(spec):\n    raise NotImplementedError\n")
    (tmp_path / "teacher.safetensors").write_bytes(b"")
    (tmp_path / "clips.csv").write_text("path,split,action\n")
    content = {**yaml.safe_load(_blocks("yaml")[0]), **yaml.safe_load(_blocks("yaml")[1])}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    assert load_recipe(tmp_path / "mine.yaml").teacher.factory == "mypackage.networks:build_teacher"


@pytest.mark.parametrize("module", ["compress.run", "benchmarks.run", "export.run"])
def test_every_option_in_the_readme_exists(module):
    lines = [line for block in _blocks("sh") for line in block.splitlines() if f"python -m {module} " in line]
    assert lines
    shown = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for option in re.findall(r"--[a-z-]+", " ".join(line.partition("#")[0] for line in lines)):
        assert option in shown, option


def test_the_network_in_the_readme_is_exported(tmp_path):
    (tmp_path / "my_net.py").write_text(_blocks("python")[0])
    command = next(
        line for block in _blocks("sh") for line in block.splitlines() if "export.run my_net" in line
    )
    arguments = command.partition("#")[0].split()[1:]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, *arguments, "--formats", "onnx"],
        cwd=tmp_path,
        env=environment,
        check=True,
        timeout=300,
    )
    assert (tmp_path / "out/my_net/onnx/model.onnx").is_file()


def test_every_file_that_the_readme_links_exists():
    for link in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / link).exists(), link


def test_every_make_target_in_the_readme_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
