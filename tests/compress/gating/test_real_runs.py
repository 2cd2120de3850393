"""Gates on real runs: an equal one passes, and planted regressions are stopped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from compress.gating.baseline import read_baseline, write_baseline
from compress.gating.compare import compare
from compress.gating.measured import read_measured
from compress.gating.settings import GateSettings
from tests.commands import run_command_line

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny.yaml"
SMALL = (
    *("data.clips.train=240", "data.clips.validation=16", "data.clips.test=200", "data.difficulty=0"),
    *("teacher.train.epochs=4", "teacher.train.batch=16", "gates=[]"),
    "stages=[{distill: {epochs: 12, batch: 16}}, {quantize: {calibration_clips: 16, batch: 8}}]",
    *("export.formats=[onnx]", "export.schemes=[w8a8]"),
)
WORSE = (
    *("stages.0.distill.epochs=1", "student.options.depth=1"),
    "stages.1.quantize.float_layers=['video.[1-5].*']",
)
"""Trained less, three times as deep, and mostly computed in float."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, the same once more, and one with planted regressions; and the baseline of the first."""
    folder = tmp_path_factory.mktemp("runs")
    for name, more in (("first", ()), ("again", ()), ("worse", WORSE)):
        options = [word for setting in (*SMALL, *more) for word in ("--set", setting)]
        done = run_command_line(
            ["compress.run", RECIPE, "--out", folder / name, "--cache", folder / "cache", *options],
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
    write_baseline(read_measured(folder / "first"), folder / "baseline")
    return folder


def test_an_unchanged_run_passes_20_of_20(folder):
    baseline, _ = read_baseline(folder / "baseline")
    again = read_measured(folder / "again")
    passed = [compare(again, baseline, GateSettings()).passed for _ in range(20)]
    assert passed == [True] * 20


def test_every_planted_regression_is_stopped_by_its_gate(folder):
    baseline, _ = read_baseline(folder / "baseline")
    outcomes = compare(read_measured(folder / "worse"), baseline, GateSettings()).outcomes
    verdicts = {one.figure: one.verdict for one in outcomes}
    assert verdicts == {
        "files.onnx.w8a8.label": "fail",
        "files.onnx.w8a8.host.latency": "fail",
        "files.onnx.w8a8.size_bytes": "fail",
        "files.onnx.w8a8.coverage": "fail",
    }, [one.reason for one in outcomes]
