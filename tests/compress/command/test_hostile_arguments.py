"""Invalid and hostile arguments: an exit code and a sentence, never a traceback."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.benchmarks.small_exports import onnx_export, write_videos
from tests.commands import run_command_line

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[3]
TINY = str(ROOT / "tests" / "recipes" / "tiny.yaml")
NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, clip):
        return self.layer(clip.mean((2, 3, 4)))

def nothing():
    return None

one = lambda: 1
"""
HEADER = "{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"


def npy(shape: str) -> bytes:
    """A `.npy` file whose header claims a shape, and which holds four bytes."""
    text = HEADER.format(shape=shape).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(4)


def npz(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("clip.npy", content)
    return buffer.getvalue()


def pickled() -> bytes:
    buffer = io.BytesIO()
    torch.save({"layer.weight": torch.zeros(4, 3), 7: torch.zeros(4)}, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good and hostile files."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "folder").mkdir()
    for name in ("fifo", "fifo.npy", "fifo.pt", "fifo.csv", "fifo.mp4", "fifo.onnx"):
        os.mkfifo(folder / name)
    whole = npy("(1, 3, 2, 8, 8)")
    files = {
        "net.py": NET.encode(),
        "empty": b"",
        "text": b"no weights at all\n",
        "negative.npy": npy("(-1, 3, 2, 8, 8)"),
        "huge.npy": npy("(1000000000000, 3, 2, 8, 8)"),
        "short.npy": whole,
        "odd.npy": whole.replace(b"'descr'", b"'desc\x00'"),
        "quote.npy": whole.replace(b"'<f4',", b"'''<f4"),
        "huge.npz": npz(npy("(1000000000000, 3, 2, 8, 8)")),
        "negative.npz": npz(npy("(-1, 3, 2, 8, 8)")),
        "broken.npz": npz(whole)[:60] + b"\xff\xff" + npz(whole)[62:],
        "mixed.pt": pickled(),
        "cut.pt": pickled()[:300],
        "header.safetensors": b"\xff" * 16,
        "long.csv": b"path,split,move\n" + b"a" * 300 + b".mp4,test,left\n",
        "nul.csv": b"path,split,move\n\x00.mp4,test,left\n",
        "pipe.csv": b"path,split,move\nfifo.mp4,test,left\n",
        "zero.csv": b"path,split,move\n/dev/zero,test,left\n",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    write_videos(folder, count=1)
    export = onnx_export(folder / "export")
    manifest = json.loads((export / "manifest.json").read_text())
    changes = {
        "root": lambda row: row.update(path="/"),
        "above": lambda row: row.update(path="../export/onnx/fp32/model.onnx"),
        "number": lambda row: row.update(path=7),
        "shape": lambda row: row["inputs"][0].update(shape=["a"]),
        "format": lambda row: row.update(format=[[]]),
        "rows": None,
    }
    for name, change in changes.items():
        shutil.copytree(export, folder / f"export_{name}")
        content = json.loads(json.dumps(manifest))
        if change is None:
            content["files"] = "files"
        else:
            change(content["files"][0])
        (folder / f"export_{name}" / "manifest.json").write_text(json.dumps(content))
    (folder / "export_nested").mkdir()
    (folder / "export_nested" / "manifest.json").write_text("[" * 100_000)
    return folder


def run(
    place: Path, line: str, *, environment: Mapping[str, str] | None = None, without: Sequence[str] = ()
) -> tuple[int, str]:
    """Exit code and all that was printed by the command of this line, whose words may hold `{p}`, the folder."""
    done = run_command_line(
        _words(place, line), env=_environment(environment, without), timeout=120, stderr_to_stdout=True
    )
    return done.returncode, done.stdout


def run_anew(
    place: Path, line: str, *, environment: Mapping[str, str] | None = None, **settings: Any
) -> tuple[int, str]:
    """The same, started by Python: for what is settled before there is a command."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "cwd": ROOT, **settings}
    done = subprocess.run(
        [sys.executable, "-m", *_words(place, line)],
        env=_environment(environment, ()),
        text=True,
        errors="backslashreplace",
        timeout=120,
        check=False,
        **settings,
    )
    return done.returncode, done.stdout or ""


def _words(place: Path, line: str) -> list[str]:
    return [word.replace("{p}", str(place)).replace("{_}", " ") for word in line.split()]


def _environment(more: Mapping[str, str] | None, without: Sequence[str]) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return {name: value for name, value in {**environment, **(more or {})}.items() if name not in without}


def ends(place: Path, line: str, code: int, said: str, **settings: object) -> None:
    found, printed = run(place, line, **settings)
    assert "Traceback" not in printed
    assert found == code and re.search(said, printed), (found, printed)


EXPORT = "export.run {p}/net.py:Net --shape 1x3x2x8x8 --formats onnx --out {p}/out"
CALIBRATED = f"{EXPORT} --schemes w8a8 --calibration"
DAMAGED = "is not a .npy or .npz file of plain numbers, or is damaged"


@pytest.mark.parametrize(
    "line, code, said",
    [
        (
            f"compress.run {TINY} --plan --set clip.mean=[]",
            2,
            r"clip\.mean: wrong number of entries; given: \[\]; allowed: at least 3",
        ),
        (
            f"compress.run {TINY} --plan --set clip.std=[1,2]",
            2,
            r"clip\.std: .* \[1, 2\]; allowed: at least 3",
        ),
        (f"compress.run {TINY} --plan --set clip.text.length=1000000000000", 2, r"clip\.text\.length"),
        (f"compress.run {TINY} --plan --set student.options.width=10000", 2, r"student\.options\.width"),
        (f"compress.run {TINY} --plan --set seed=9223372036854775808", 2, "seed"),
        ("compress.run {p}/fifo --plan", 2, "not a regular file, not a recipe"),
        ("compress.run /dev/zero --plan", 2, "not a regular file, not a recipe"),
        ("compress.run " + "r" * 300, 2, "File name too long"),
        (f"compress.run {TINY} --out {{p}}/text", 2, "is a file; give a folder"),
        (
            f"compress.run {TINY} --plan --set data={{source:{{_}}manifest,manifest:{{_}}'{{p}}/fifo.csv'}}",
            2,
            "",
        ),
    ],
)
def test_recipes(place, line, code, said):
    ends(place, line, code, said)


@pytest.mark.parametrize(
    "line, code, said",
    [
        ("export.run {p}/net.py:Net --shape 100000x100000x100000 --check", 2, "an input has 134,217,728 at most"),
        (f"export.run {{p}}/net.py:Net --shape 1x3x{'9' * 5000} --check", 2, "more than 20 digits"),
        ("export.run {p}/net.py:nothing --shape 1x8 --check", 2, "returns None; does it return the network"),
        ("export.run {p}/net.py:one --shape 1x8 --check", 2, "returns int; it must return a torch.nn.Module"),
        ("export.run {p}/fifo.py:one --shape 1x8 --check", 2, "there is no such file"),
        *[(f"{CALIBRATED} {{p}}/{name}", 2, f"calibration .*/{name}: {DAMAGED}") for name in (
            "negative.npy", "huge.npy", "short.npy", "odd.npy", "quote.npy", "text", "empty",
            "huge.npz", "negative.npz", "broken.npz",
        )],
        (f"{CALIBRATED} {{p}}/fifo.npy", 2, "calibration .*/fifo.npy: is not a regular file"),
        (f"{CALIBRATED} /dev/zero", 2, "calibration /dev/zero: is not a regular file"),
        (f"{EXPORT} --clips {{p}}/folder", 2, "clips .*/folder: is not a regular file"),
        *[(f"{EXPORT} --weights {{p}}/{name}", 2, f"--weights .*/{name} is not a plain file") for name in (
            "text", "empty", "cut.pt", "header.safetensors",
        )],
        (f"{EXPORT} --weights {{p}}/mixed.pt", 2, "mixed.pt holds more than a state dict"),
        (f"{EXPORT} --weights {{p}}/fifo.pt", 2, "fifo.pt: is not a regular file"),
        (f"{EXPORT} --weights {{p}}/{'w' * 300}", 2, "File name too long"),
    ],
)  # fmt: skip
def test_networks(place, line, code, said):
    ends(place, line, code, said)
    assert not (place / "out").exists()


CLASSIFY = "benchmarks.classify --model {p}/export/onnx/fp32/model.onnx"
MEASURE = "benchmarks.run {p}/export --rounds 1"


@pytest.mark.parametrize(
    "line, code, said",
    [
        ("benchmarks.run {p}/export_nested", 2, r"manifest.json: is not JSON"),
        ("benchmarks.run {p}/export_root", 2, "the path '/' is outside the export"),
        ("benchmarks.run {p}/export_above", 2, "is outside the export"),
        *[(f"benchmarks.run {{p}}/export_{name}", 2, "a field is missing or of the wrong type")
          for name in ("number", "shape", "format", "rows")],
        ("benchmarks.classify {p}/fifo.mp4 --model {p}/export_rows/onnx/fp32/model.onnx", 2, "of the wrong type"),
        (f"{MEASURE} --out {{p}}/folder", 2, "is a folder; give the name of a file"),
        *[(f"{line} {{p}}/fifo", 2, "/fifo is a pipe; give the name of a regular file") for line in (
            f"{MEASURE} --out", "benchmarks.streaming {p}/export --out", f"{CLASSIFY} {{p}}/text --out",
            "compress.studies.comparison --page", "compress.studies.comparison --results",
            "compress.studies.student_table --page",
            "compress.studies.encoder_table --page", f"compress.studies.cross_modal {TINY} --page",
        )],
        (f"{MEASURE} --out /dev/null", 2, "/dev/null is a device; give the name of a regular file"),
        (f"{MEASURE} --out /dev/stdout", 2, "/dev/stdout is a symbolic link"),
        ("compress.studies.results_page {p}/fifo", 2, "/fifo: is not a regular file; give the report.json"),
        (f"{MEASURE} --data {{p}}/fifo.csv", 2, "fifo.csv"),
        (f"{MEASURE} --data {{p}}/long.csv", 2, r"line 2: no such file: .*File name too long"),
        (f"{MEASURE} --data {{p}}/nul.csv", 2, "line|CSV"),
        (f"{MEASURE} --data {{p}}/pipe.csv", 2, "line 2: .*fifo.mp4 is not a regular file: give a video"),
        (f"{MEASURE} --data {{p}}/zero.csv", 2, "line 2: /dev/zero is not a regular file: give a video"),
        (f"{CLASSIFY} {{p}}/fifo.mp4", 2, "fifo.mp4"),
        (f"{CLASSIFY} /dev/zero", 2, "/dev/zero"),
        (f"{CLASSIFY} {{p}}/folder", 2, "is a folder"),
        (f"{CLASSIFY} {{p}}/text --out {{p}}/folder", 2, "is a folder; give the name of a file"),
        (f"{CLASSIFY} {{p}}/text --limit [/x]=3", 2, r"\[/x\]"),
        ("benchmarks.classify {p}/text --model {p}/fifo.onnx", 2, "fifo.onnx"),
        ("benchmarks.live {p}/fifo.mp4 --model {p}/export/onnx/fp32/model.onnx", 2, ""),
    ],
)  # fmt: skip
def test_measuring(place, line, code, said):
    ends(place, line, code, said)


def test_surroundings(place, tmp_path):
    """Without a home folder, a place for temporary files, an output, an encoding."""
    plan = f"compress.run {TINY} --plan"
    ends(place, plan, 0, "mobilenet3d_tiny", without=["HOME"])
    nowhere = {"TMPDIR": "/proc/nothing", "HOME": "/proc/nothing"}
    ends(place, f"{plan} --set seed=abc", 2, "seed", environment=nowhere)
    ends(place, f"{EXPORT}_tmp", 0, "manifest: ", environment={"TMPDIR": "/proc/nothing"})
    code, _ = run_anew(place, plan, stdout=None, preexec_fn=lambda: os.close(1))
    assert code == 0
    odd = tmp_path / "é🎬"
    odd.mkdir()
    shutil.copy(TINY, odd / "réc.yaml")
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    unnamed = f"compress.run {odd}/réc.yaml --plan"
    ends(place, unnamed, 2, "name: the recipe's file name cannot be the run's name", environment=plain)
    ends(place, f"{unnamed} --set name=rec", 0, "mobilenet3d_tiny", environment=plain)
    ends(place, f"compress.run {odd}/nix.yaml --plan", 2, "no such file", environment=plain)


@pytest.mark.skipif(not Path("/proc/1/mem").exists(), reason="needs files that nobody may read or write")
@pytest.mark.parametrize(
    "line, said",
    [
        ("compress.run /proc/self/mem --plan", "/proc/self/mem"),
        (f"compress.run {TINY} --out /proc/nothing", "/proc"),
        (f"compress.run {TINY} --cache /proc/nothing --out {{p}}/run_out", "/proc"),
        ("export.run {p}/net.py:Net --shape 1x3x2x8x8 --formats onnx --out /proc/nothing", "/proc"),
        (f"{EXPORT} --weights /proc/self/mem", "/proc/self/mem"),
        (f"{CALIBRATED} /proc/self/mem", "/proc/self/mem"),
        (f"{MEASURE} --out /proc/nothing", "/proc/nothing"),
        (f"{MEASURE} --data /proc/self/mem", "/proc/self/mem"),
    ],
)
def test_what_may_not_be_read_or_written(place, line, said):
    found, printed = run(place, line)
    assert "Traceback" not in printed
    assert found in (2, 3) and said in printed, (found, printed)
