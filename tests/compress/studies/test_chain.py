"""Teacher and student files are timed in the same rounds, and stand side by side with their accuracies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from compress.studies import chain
from tests.benchmarks.small_exports import onnx_export
from tests.reports import realistic_report

ROOT = Path(__file__).resolve().parents[3]


def run_folder(folder, *, scheme, top1, classes=None):
    """A finished run whose export has one real ONNX file."""
    manifest = onnx_export(folder / "export") / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"][0]["scheme"] = scheme
    manifest.write_text(json.dumps(content))
    report = json.loads(json.dumps(realistic_report()))
    (file,) = (one for one in report["files"] if one["format"] == "onnx")
    file.update(scheme=scheme, accuracy={**file["accuracy"], "top1": top1})
    report["data"]["classes"] = classes or report["data"]["classes"]
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def run(teacher, student, folder):
    page = folder / "page.md"
    page.write_text("before\n<!-- generated: chain -->\n<!-- end -->\nafter\n")
    app = Typer()
    app.command()(chain.main)
    done = CliRunner().invoke(
        app,
        [str(teacher), str(student), "--page", str(page), "--results", str(folder / "chain.json")],
        catch_exceptions=False,
    )
    return done, page


@pytest.mark.slow
def test_both_files_are_timed_and_stand_in_one_row(tmp_path):
    teacher = run_folder(tmp_path / "teacher", scheme="fp32", top1=0.981)
    student = run_folder(tmp_path / "student", scheme="w8a8", top1=0.953)
    done, page = run(teacher, student, tmp_path)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "chain.json").read_text())
    (row,) = figures["chain"]
    assert row["before"]["file"] == "onnx.fp32" and row["after"]["file"] == "onnx.w8a8"
    assert row["before"]["p50_ms"] > 0 and row["after"]["p50_ms"] > 0
    low, high = row["ratio"]["ci95"]
    assert low <= row["ratio"]["value"] <= high
    assert "| 98.1 % → 95.3 % |" in page.read_text() and chain.table(figures) in page.read_text()


def test_runs_on_other_clips_are_refused(tmp_path):
    teacher = run_folder(tmp_path / "teacher", scheme="fp32", top1=0.9, classes={"class": ["a", "b"]})
    student = run_folder(tmp_path / "student", scheme="w8a8", top1=0.9)
    done, _ = run(teacher, student, tmp_path)
    assert done.exit_code == 2 and "different clips" in " ".join(done.output.split())
    assert not (tmp_path / "chain.json").exists()


def test_a_student_without_int8_files_is_refused(tmp_path):
    folders = [run_folder(tmp_path / name, scheme="fp32", top1=0.9) for name in ("teacher", "student")]
    done, _ = run(*folders, tmp_path)
    assert done.exit_code == 2 and "no format has a file fp32" in " ".join(done.output.split())


def test_the_published_table_is_that_of_its_figures():
    figures = json.loads((ROOT / "benchmarks/results/chain.json").read_text())
    assert chain.table(figures) in (ROOT / "docs/results.md").read_text()
