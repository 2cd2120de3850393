"""The recipes in `docs/teachers.md` are valid, and its table comes from real trainings."""

from __future__ import annotations

import re
from pathlib import Path

from typer import Typer
from typer.testing import CliRunner

from compress.folders.locks import held
from compress.recipe import load_recipe
from compress.studies import encoder_table
from models.checkpoints import LAYOUTS
from models.teachers.fusion import FUSIONS
from models.teachers.modular import TABLES
from models.teachers.video import VIDEO_ENCODERS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "teachers.md").read_text()


def _blocks(text: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)


def test_the_recipe_for_teachers_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips.csv").write_text("")
    (tmp_path / "r2plus1d_18-91a641e6.pth").write_text("")
    recipe = next(block for block in _blocks(PAGE) if "source: manifest" in block)
    (tmp_path / "mine.yaml").write_text(recipe)
    found = load_recipe(tmp_path / "mine.yaml")
    assert list(found.teacher.tasks) == ["action", "emotion", "topics", "retrieval"]


def test_the_page_names_every_part_and_every_public_layout():
    parts = {name for table in (*TABLES.values(), FUSIONS) for name in table if not name.endswith("_tiny")}
    for name in {*parts, *(set(LAYOUTS) & set(VIDEO_ENCODERS))}:
        assert f"`{name}`" in PAGE


def test_every_family_of_video_encoders_is_in_the_table():
    assert set(encoder_table.ENCODERS) == {name for name in VIDEO_ENCODERS if name.endswith("_tiny")}
    for name in encoder_table.ENCODERS:
        assert f"\n| `{name}` |" in PAGE


def test_the_command_trains_and_writes_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_table, "ENCODERS", {"resnet_frames_tiny": encoder_table.Training(epochs=1)})
    page = tmp_path / "teachers.md"
    page.write_text("before\n<!-- generated: encoders -->\nold\n<!-- end -->\nafter\n")
    app = Typer()
    app.command()(encoder_table.main)
    done = CliRunner().invoke(app, ["--cache", str(tmp_path / "cache"), "--page", str(page), "--clips", "64"])
    assert done.exit_code == 1, "one epoch of 64 clips reaches no floor"
    assert re.search(r"\d figures are below their floor", done.output)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n") and "old" not in text
    assert re.search(
        r"^\| `resnet_frames_tiny` \| \d+ k \|( \d+\.\d \|){4} 1 \| \d+ s \|$", text, re.MULTILINE
    )


def test_a_folder_that_another_table_holds_is_refused(tmp_path):
    page = tmp_path / "teachers.md"
    page.write_text("<!-- generated: encoders -->\nold\n<!-- end -->\n")
    app = Typer()
    app.command()(encoder_table.main)
    with held(tmp_path / "cache" / "encoder_table"):
        done = CliRunner().invoke(app, ["--cache", str(tmp_path / "cache"), "--page", str(page)])
    assert done.exit_code == 2 and "is in use by process" in done.output
