"""The command line that is stored with the figures of a study."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.studies.command_line import command_line


def test_it_has_the_settings_of_the_figures():
    overrides = ["stages.0.distill.epochs=3", "student.inputs=[clip]"]
    options = {"student": ["x3d_xs", "r2plus1d_18"], "latency": [0.5], "macs": ()}
    assert command_line("pruning", Path("recipes/x.yaml"), overrides=overrides, options=options) == (
        "python -m compress.studies.pruning recipes/x.yaml --set stages.0.distill.epochs=3 "
        "--set 'student.inputs=[clip]' --student x3d_xs --student r2plus1d_18 --latency 0.5"
    )


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("data.manifest=/home/me/words.csv", "data.manifest=path/to/words.csv"),
        ("data.manifest=../shared/words.csv", "data.manifest=path/to/words.csv"),
        ("data.root=~/clips", "data.root=path/to/clips"),
        ("data={root: /home/me/clips, labels: [a/b]}", "data={root: path/to/clips, labels: [a/b]}"),
        ("student.weights=/a.pt", "student.weights=path/to/a.pt"),
        ("teacher.file=teachers/a.onnx", "teacher.file=teachers/a.onnx"),
        ("video.frame_rate=30000/1001", "video.frame_rate=30000/1001"),
    ],
)
def test_it_has_no_folders_of_this_machine(given, shown):
    command = command_line("x", Path("/home/me/r.yaml"), overrides=[given], options={})
    assert command.replace("'", "") == f"python -m compress.studies.x path/to/r.yaml --set {shown}"
