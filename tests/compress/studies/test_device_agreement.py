"""The table of a device's agreement with this machine, from real files and clips."""

import csv

import pytest
from typer import Typer
from typer.testing import CliRunner

from compress.studies.device_agreement import main
from tests.benchmarks.small_exports import onnx_export, onnx_with_broken_neighbours, write_videos

PAGE = "before\n<!-- generated: agreement -->\n<!-- end -->\nafter\n"


@pytest.fixture
def run(tmp_path):
    page = tmp_path / "devices.md"
    page.write_text(PAGE)
    with (tmp_path / "clips.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "split", "move"])
        for index, path in enumerate(write_videos(tmp_path, count=4)):
            table.writerow([path.name, "test", ["left", "up"][index % 2]])
    app = Typer()
    app.command()(main)

    def invoke(export_dir, *, device):
        words = [export_dir, "--data", tmp_path / "clips.csv", "--device", device, "--page", page]
        return CliRunner().invoke(app, [str(word) for word in words]), page.read_text()

    return invoke


def test_a_machine_agrees_with_itself(run, tmp_path):
    done, page = run(onnx_export(tmp_path / "export"), device="host")
    assert done.exit_code == 0, done.output
    assert page.startswith("before\n") and page.endswith("after\n") and "\n4 clips; here " in page
    (row,) = (line for line in page.splitlines() if line.startswith("| onnx fp32 "))
    _, _, runtime, here, there, equal, difference, *_ = (cell.strip() for cell in row.split("|"))
    assert runtime.startswith("ONNX Runtime 1.") and here == there
    assert (equal, difference) == ("100.0%", "0")


def test_a_device_that_is_missing_leaves_the_page_unchanged(run, tmp_path):
    done, page = run(onnx_export(tmp_path / "export"), device="{ssh: {address: board, config: /nonexistent}}")
    assert done.exit_code == 3 and "board: " in done.output
    assert page == PAGE


def test_a_file_that_fails_leaves_the_page_unchanged(run, tmp_path):
    done, page = run(onnx_with_broken_neighbours(tmp_path / "export"), device="host")
    assert done.exit_code == 3 and "tflite.fp32 on host: " in done.output
    assert page == PAGE
