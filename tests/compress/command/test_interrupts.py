"""Ctrl-C while a run decodes, trains, converts and measures: it ends at once, and the next run resumes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.compress.command.processes import MARK, left

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = (
    "export.formats=[onnx]",
    "export.schemes=[w8a8]",
    "stages=[{distill: {epochs: 2, batch: 8}}, {quantize: {calibration_clips: 8, batch: 8}}]",
    "gates=[]",
)
MOMENTS = {
    "decoding": "cache/decoded/*",
    "training": "out/stages/01_distill*",
    "converting": "out/export/.onnx.*.partial",
    "measuring": "out/export/manifest.json",
}
"""A file that exists in the folder once a part of a run has begun."""


def start(folder: Path) -> subprocess.Popen[str]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    tiny = ROOT / "tests" / "recipes" / "tiny.yaml"
    places = ["--out", str(folder / "out"), "--cache", str(folder / "cache")]
    return subprocess.Popen(
        [sys.executable, "-m", "compress.run", str(tiny), *settings, *places],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", MARK: str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def started():
    """Starts runs, and ends those that a failed test leaves."""
    all_: list[subprocess.Popen[str]] = []

    def begin(folder: Path) -> subprocess.Popen[str]:
        all_.append(start(folder))
        return all_[-1]

    yield begin
    for process in all_:
        process.kill()
        process.communicate()


def test_a_run_that_is_interrupted_anywhere_ends_at_once_and_goes_on_later(tmp_path, started):
    for name, pattern in MOMENTS.items():
        process = started(tmp_path)
        while not list(tmp_path.glob(pattern)):
            assert process.poll() is None, (name, process.communicate())
            time.sleep(0.02)
        time.sleep(0.5)
        asked = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.wait(60)
        took_s = time.monotonic() - asked
        out, problems = process.communicate()
        assert process.returncode == 130, (name, out, problems)
        again = shlex.join(process.args)
        assert problems == f"stopped; resume with: {again}\n", name
        assert took_s < 4, name  # 2 s where nothing else runs
        assert not left(str(tmp_path)), name
        assert not (tmp_path / "out" / "report.json").exists(), name
    process = started(tmp_path)
    out, problems = process.communicate(timeout=900)
    assert process.returncode == 0, (out, problems)
    assert (tmp_path / "out" / "report.json").is_file()
