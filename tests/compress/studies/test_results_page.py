"""The figures of the main job: stored from a report and generated into two pages."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer

from compress.studies import results_page
from compress.studies.results_page import STORED, figures_of, pages
from tests.reports import realistic_report

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of two pages with a marked place each, and the figures of one report."""
    (tmp_path / "docs").mkdir()
    for page in (tmp_path / "README.md", tmp_path / "docs" / "results.md"):
        page.write_text("before\n<!-- generated: main_job -->\nold\n<!-- end -->\nafter\n")
    (tmp_path / STORED).parent.mkdir(parents=True)
    (tmp_path / STORED).write_text((ROOT / STORED).read_text())
    return tmp_path


def test_a_figure_that_changes_in_the_run_changes_on_both_pages(folder: Path) -> None:
    figures = json.loads((folder / STORED).read_text())
    figures["models"]["teacher"]["top1"] = 0.4321
    (folder / STORED).write_text(json.dumps(figures))
    for content in pages(folder).values():
        assert "43.2" in content and "old" not in content
        assert content.startswith("before\n") and content.endswith("after\n")


def test_the_pruned_share_is_computed_from_the_stage(folder: Path) -> None:
    figures = json.loads((folder / STORED).read_text())
    (prune,) = (stage for stage in figures["stages"] if stage["name"] == "prune")
    prune["before"]["macs"], prune["after"]["macs"] = 100_000_000, 63_000_000
    (folder / STORED).write_text(json.dumps(figures))
    readme, results = pages(folder).values()
    assert "37 % of its MACs pruned" in readme and "removed 37 % of the MACs" in results


def test_figures_name_the_processor_but_not_the_system_of_the_machine() -> None:
    report = dict(realistic_report())
    device = {"cpu": "Xeon", "cores": 2, "int8_instructions": ["avx512_vnni"]}
    report["environment"] = {"python": "3.11", "device": {**device, "system": "Linux-6.1-host"}}
    figures = figures_of(report)
    assert figures["environment"]["device"] == device
    assert figures["stages"] and all("curve" not in stage for stage in figures["stages"])


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda report: report.pop("models"), r"KeyError: 'models'"),
        (lambda report: report["models"]["teacher"].update(top1="high"), "Unknown format code"),
        (lambda report: report["recipe"].pop("clip"), r"KeyError: 'clip'"),
        (lambda report: report["models"].update(more=float("nan")), "not JSON compliant"),
        (lambda report: report.update(recipe="\ud800"), "TypeError"),
    ],
)
def test_a_report_that_does_not_say_it_all_changes_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, damage: Any, said: str
) -> None:
    monkeypatch.setattr(results_page, "ROOT", folder)
    report = json.loads((folder / STORED).read_text())
    damage(report)
    given = folder / "given.json"
    given.write_text(json.dumps(report))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(typer.Exit) as ended:
        results_page.main(given)
    assert ended.value.exit_code == 2
    with pytest.raises(ValueError, match=f"given.json: is not the report of a finished `make run` .*{said}"):
        results_page._files(given)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_report_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: is not a regular file"):
        results_page._files(tmp_path / "pipe")
