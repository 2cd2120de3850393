"""A run measures the step programs of a streaming student on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from benchmarks.files import FileId
from compress.recipe import load_recipe
from compress.report.assemble import _step
from compress.steps.benchmark import _steps
from compress.steps.export import Exported
from tests.benchmarks.small_streams import streaming_export

TINY = Path(__file__).resolve().parents[1] / "recipes" / "tiny.yaml"
FILE = FileId("onnx", "fp32")


def steps(folder: Path, *, kind: str = "host") -> tuple[dict[FileId, dict[str, Any]], dict[str, Any]]:
    """The latency of the step programs of a small export, and the row of its manifest."""
    streaming_export(folder)
    rows = json.loads((folder / "manifest.json").read_text())["files"]
    recipe = load_recipe(TINY, overrides=["benchmark.rounds=6"])
    benchmark = recipe.benchmark
    if kind != "host":
        devices = {"board": SimpleNamespace(kind=kind)}
        benchmark = SimpleNamespace(named_devices=devices, threads=1, rounds=6)  # type: ignore[assignment]
    run: Any = SimpleNamespace(
        recipe=SimpleNamespace(benchmark=benchmark, seed=0), console=Console(quiet=True)
    )
    found = _steps(run, Exported(folder=folder, rows=rows, key=""), [FILE])
    return found, rows[0]


def test_a_step_program_is_measured_beside_the_clip(tmp_path: Path) -> None:
    found, row = steps(tmp_path)
    one = found[FILE]
    assert one["p50_ms"] > 0 and one["speedup_ci95"][0] <= one["speedup"] <= one["speedup_ci95"][1]
    assert "reason" not in one
    reported = _step(row["step"], clip=row, measured=one)
    assert reported == {"size_bytes": row["step"]["size_bytes"], "coverage": {"macs": 10}, **one}


@pytest.mark.parametrize("kind", ["ssh", "browser"])
def test_on_another_device_the_reason_stands_in_its_place(tmp_path: Path, kind: str) -> None:
    found, row = steps(tmp_path, kind=kind)
    assert found[FILE]["p50_ms"] is None
    assert found[FILE]["reason"] == (
        f"step programs are measured on host only, and the first device is of the kind {kind}"
    )
    in_the_same_file = {**row["step"], "path": row["path"]}
    reported = _step(in_the_same_file, clip=row, measured=found[FILE])
    assert reported is not None and reported["size_bytes"] is None and "host only" in reported["reason"]


def test_a_student_that_does_not_stream_has_no_step() -> None:
    assert _step(None, clip={"path": "a"}, measured=None) is None
