"""Progress: a bar on a terminal, lines with the remaining time in a log file."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from compress.command.progress import Report, bar, duration

ROOT = Path(__file__).resolve().parents[3]
WORK = """
import time
from compress.command import progress
from compress.command.progress import bar
from compress.command.terminal import output

progress.FIRST_LINE_S, progress.LINE_EVERY_S, progress.LEAST_S, progress._LEAST_KNOWN_S = 0.5, 0.5, 0.2, 0.1

def steps(report, count, each_s, what=()):
    for number in range(count):
        report(*what, number, count)
        time.sleep(each_s)
    report(*what, count, count)

"""


def printed(work: str, **environment: str) -> list[str]:
    """The lines that a process whose output is a pipe prints."""
    done = subprocess.run(
        [sys.executable, "-c", WORK + work],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}])
def test_long_work_prints_a_line_now_and_then(environment):
    lines = printed("with bar(output(), 'decode') as report: steps(report, 1100, 0.002)", **environment)
    assert 2 <= len(lines) <= 20
    for line in lines:
        assert re.fullmatch(r"  decode: \d[\d,]* of 1,100, \d+ s left", line), line


def test_short_work_prints_nothing():
    assert printed("with bar(output(), 'decode') as report: steps(report, 2, 0.05)") == []


def test_work_that_stands_still_says_so():
    lines = printed(
        "with bar(output(), 'export', unit=' files') as r:\n  r('onnx fp32', 0, 4); time.sleep(1.2)"
    )
    assert lines[0] == "  export: onnx fp32, 0 of 4 files"


def test_lines_are_about_the_part_that_goes_on():
    lines = printed(
        "with bar(output(), 'distill') as whole:\n"
        "  whole(0, 2)\n"
        "  with bar(output(), 'teacher logits') as part: steps(part, 10, 0.15)\n"
    )
    assert lines
    assert all(line.startswith("  teacher logits: ") for line in lines)


def test_epochs_have_a_line_each_with_the_time_left():
    lines = printed(
        "with bar(output(), 'distill') as report:\n"
        "  for epoch in range(3):\n"
        "    for step in range(4):\n"
        "      time.sleep(0.1); report(4 * epoch + step + 1, 12)\n"
        "    report.milestone(f'epoch {epoch + 1} of 3, loss 1.234')\n"
    )
    epochs = [line for line in lines if re.search(r"loss 1.234, (\d+ s left|took \d+ s)$", line)]
    assert [line.split(",")[0] for line in epochs] == [f"  distill: epoch {n} of 3" for n in (1, 2, 3)]
    assert epochs[0].endswith(" s left") and ", took " in epochs[-1]


def test_short_epochs_share_lines():
    lines = printed(
        "with bar(output(), 'distill') as report:\n"
        "  for epoch in range(30):\n"
        "    time.sleep(0.02); report(epoch + 1, 30); report.milestone(f'epoch {epoch + 1} of 30')\n"
    )
    assert 1 <= len(lines) <= 5


def test_a_bar_shows_the_same_on_a_terminal():
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, force_interactive=True, width=150)
    with bar(console, "distill") as report:
        report(3, 12)
        report.milestone("epoch 3 of 12, loss 1.234")
    assert "3 of 12" in written.getvalue() and "epoch 3 of 12, loss 1.234" in written.getvalue()


def test_a_bar_without_a_total_shows_no_number():
    written = io.StringIO()
    with bar(Console(file=written, force_terminal=True, force_interactive=True, width=100), "decoding"):
        pass
    assert "decoding" in written.getvalue()
    assert " of " not in written.getvalue()


def test_what_was_done_before_does_not_count_for_the_time_left(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    report = Report(Console(quiet=True), "distill", "")
    report(80, 100)  # resumed
    now_s = 110.0
    assert report.left() == ""
    report(85, 100)
    assert report.left() == "30 s left"
    report("accuracy", 0, 50)  # another part
    now_s = 112.0
    report("accuracy", 25, 50)
    assert report.left() == "2 s left"


def test_durations_are_as_exact_as_one_reads_them():
    assert [duration(s) for s in (0.2, 40.4, 89, 95, 3000, 11_100)] == [
        *("1 s", "40 s", "89 s", "2 min", "50 min", "3 h 05 min")
    ]
