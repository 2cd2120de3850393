"""`pocketreel compare`: figures of two runs, and top-1 on the same clips."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from compress.report import write_report
from compress.report.compare import compare_runs, comparison_page
from compress.report.write import render
from compress.report_shape import Report
from tests.commands import run_command_line
from tests.compress.test_report import Page
from tests.report_cases import report_of


def run_of(folder: Path, report: Report, *, correct: list[bool], label: str = "class") -> Path:
    """The folder of a run with its report, and with predictions of one file."""
    write_report(report, folder)
    (folder / "predictions").mkdir()
    with (folder / "predictions" / "onnx.w8a8.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "start_s", "end_s", label, f"{label}_prediction", f"{label}_correct"])
        for at, right in enumerate(correct):
            table.writerow([f"{at}.mp4", "", "", "left", "left" if right else "up", int(right)])
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs whose onnx.w8a8 files differ on 12 of 100 clips; the second has no LiteRT file."""
    folder = tmp_path_factory.mktemp("runs")
    before, after = report_of(), report_of()
    after["recipe"]["seed"] = 1
    after["files"] = [one for one in after["files"] if one["format"] != "tflite"]
    after["files"][1]["size_bytes"] = 260_000
    after["files"][1]["latency"][0]["p50_ms"] = 3.0
    (folder / "a").mkdir(), (folder / "b").mkdir()
    one = run_of(folder / "a", before, correct=[True] * 98 + [False] * 2)
    other = run_of(folder / "b", after, correct=[False] * 11 + [True] * 87 + [True, False])
    return one, other


def test_top1_is_compared_on_the_same_clips(runs: tuple[Path, Path]) -> None:
    found = compare_runs(*runs)
    (row,) = [one for one in found["changes"] if one["paired"]]
    assert (row["name"], row["label"], row["clips"]) == ("onnx.w8a8", "class", 100)
    assert (row["paired"]["lost"], row["paired"]["won"], row["paired"]["change_pp"]) == (11, 1, -10.0)
    shown = comparison_page(found)
    assert shown["verdict"] == (
        "1 comparison on the same clips: 1 worse, 0 better, 0 without a significant change"
    )
    assert shown["tone"] == "bad"
    missing = next(one for one in shown["changes"] if one["name"] == "onnx.fp32")
    assert missing["reason"] == f"{runs[0] / 'predictions'}: has no predictions of onnx.fp32"


def test_other_figures_and_settings_stand_side_by_side(runs: tuple[Path, Path]) -> None:
    shown = comparison_page(compare_runs(*runs))
    files = {row["name"]: row for row in shown["files"]}
    assert files["onnx.w8a8"]["cells"][1] == {"values": "520 kB → 260 kB", "change": "−50.0 %"}
    assert files["tflite.fp32"]["status"] == "in one run only"
    assert {"path": "seed", "before": "0", "after": "1"} in shown["recipe"]
    latency = {row["name"]: row for row in shown["latency"]}
    assert (latency["onnx.w8a8"]["before"], latency["onnx.w8a8"]["change"]) == ("2.70 ms", "+11.1 %")
    assert shown["environment"] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("0.mp4", "zero.mp4"), "the runs have different test clips"),
        (
            lambda text: text.replace(",left,left,1", ",up,left,1", 1),
            "the clips have different labels in the two runs",
        ),
        (lambda text: text.replace("class", "word"), "only one run has the label column class"),
    ],
)
def test_unlike_clips_are_not_compared(
    runs: tuple[Path, Path], tmp_path: Path, change: Any, reason: str
) -> None:
    copy = run_of(tmp_path, report_of(), correct=[True] * 100)
    path = copy / "predictions" / "onnx.w8a8.csv"
    path.write_text(change(path.read_text()))
    rows = [one for one in compare_runs(runs[0], copy)["changes"] if one["name"] == "onnx.w8a8"]
    assert [(one["paired"], one["reason"]) for one in rows] == [(None, reason)]


def test_both_pages_are_well_formed(runs: tuple[Path, Path]) -> None:
    shown = comparison_page(compare_runs(*runs))
    page = Page(render("compare.html", shown))
    assert "11 lost, 1 won of 100" in page.text and "worse (p" in page.text and not page.addresses
    markdown = render("compare.md", shown)
    for table in re.findall(r"(?m)(?:^\|.*\n)+", markdown):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


def test_the_command_writes_a_page_and_prints_the_verdict(runs: tuple[Path, Path], tmp_path: Path) -> None:
    page = tmp_path / "compare.html"
    command = ["compress.report", *map(str, runs)]
    done = run_command_line([*command, "--out", str(page), "--json"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changes"][1]["paired"]["lost"] == 11
    assert "onnx.w8a8, class" in done.stderr and Page(page.read_text()).text
    again = run_command_line([*command, "--out", str(page)], cwd=tmp_path)
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{a}", "nowhere"], "nowhere"),
        (["{a}", "{b}", "--out", "page.txt"], "--out page.txt: the page is written as .html or .md"),
        (["{a}", "{b}", "--out", "mine.md"], "mine.md exists and was not written by this command"),
    ],
)
def test_wrong_arguments_are_refused(
    runs: tuple[Path, Path], tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "mine.md").write_text("# Mine\n")
    words = [word.format(a=runs[0], b=runs[1]) for word in arguments]
    done = run_command_line(["compress.report", *words], cwd=tmp_path)
    assert done.returncode == 2 and said in " ".join(done.stderr.split())
    assert (tmp_path / "mine.md").read_text() == "# Mine\n"
