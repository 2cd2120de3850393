"""The table of all students in all formats is computed from real exports, cached, and shows failures."""

from __future__ import annotations

import re

import pytest
from typer import Typer
from typer.testing import CliRunner

from compress.studies import student_table

pytestmark = pytest.mark.slow

PAGE = "before\n<!-- generated: exports -->\n{}<!-- end -->\nafter\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command with `arguments` on a page of its own, in one quick format."""
    monkeypatch.setattr(student_table, "FORMATS", ("tflite",))
    monkeypatch.setattr(student_table, "STEPS", 4)
    page = tmp_path / "students.md"
    page.write_text(PAGE.format("| `x3d_tiny` | kept |\n"))
    app = Typer()
    app.command()(student_table.main)

    def invoke(*arguments):
        told = CliRunner().invoke(app, ["--out", str(tmp_path / "out"), "--page", str(page), *arguments])
        return told, page.read_text()

    return invoke


def row(**change):
    file = {
        "format": "tflite",
        "scheme": "fp32",
        "status": "exported",
        "reason": None,
        "relative_error": [2.4e-7],
        "sqnr_db": [130.0],
    }
    int8 = file | {"scheme": "w8a8", "relative_error": [0.02], "sqnr_db": [31.2]} | change
    return {"parameters": 12_345, "seconds": 3.2, "files": [file, int8]}


def test_students_for_tests_are_left_out():
    names = student_table.published_students()
    assert "movinet_a0" in names and "audiovisual" in names
    assert not any(name.endswith("_tiny") for name in names)


def test_the_command_exports_writes_a_row_and_keeps_it(run):
    told, page = run("--networks", "mobilenet2plus1d_tiny")
    assert told.exit_code == 0, told.output
    line = r"^\| `mobilenet2plus1d_tiny` \| 0\.\d\d M \| \de-\d\d \| \d+ \| \d+ s \|$"
    assert re.search(line, page, re.MULTILINE)
    assert page.startswith("before\n") and page.endswith("<!-- end -->\nafter\n")
    assert page.index("`mobilenet2plus1d_tiny`") < page.index("| `x3d_tiny` | kept |"), (
        "in the order of STUDENTS"
    )
    told, again = run("--networks", "mobilenet2plus1d_tiny")
    assert "cached: " in told.output and again == page


def test_a_file_that_is_wrong_is_told_and_fails_the_command(run, monkeypatch):
    wrong = row(status="wrong", reason="its SQNR is 3.0 dB", sqnr_db=[3.0])
    monkeypatch.setattr(
        student_table, "stored", lambda folder, **_: student_table.Stored(value=wrong, cached=True)
    )
    told, page = run("--networks", "x3d_tiny")
    assert told.exit_code == 1
    assert (
        "tflite w8a8 wrong: its SQNR is 3.0 dB" in told.output
        and "1 files failed or missed their pass criterion" in told.output
    )
    assert "| `x3d_tiny` | 0.01 M | 2e-07 | **wrong** 3 | 3 s |" in page


def test_a_network_that_is_no_student_is_refused(run):
    told, _ = run("--networks", "x3d_xl")
    assert told.exit_code == 2
    assert "--networks: 'x3d_xl' is not a student; allowed: mobilenet3d" in told.output
