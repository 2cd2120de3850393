"""The program for boards in `docs/apps/` computes what the exported files were made for."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.steps.reference_clip import write_reference
from export.capture.graph import capture
from export.files import Variant, export_files
from export.manifest import file_spec
from models.mobilenet3d import MobileNet3dOptions, mobilenet3d_tiny
from models.spec import ClipSpec, LabelSpec, VideoSpec

BOARD = Path(__file__).parents[2] / "docs" / "apps" / "board.py"


def program():
    spec = importlib.util.spec_from_file_location("board", BOARD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["uniform", "strided"])
def export(request, tmp_path_factory):
    out = tmp_path_factory.mktemp(request.param)
    video = VideoSpec(frames=4, size=32, resize=36, sampling=request.param, stride=2)
    labels = (LabelSpec(name="motion", classes=("left", "right", "up")),)
    spec = ClipSpec(video=video, labels=labels)
    torch.manual_seed(0)
    network = mobilenet3d_tiny(spec, MobileNet3dOptions()).eval()
    described = file_spec(spec, provenance={})
    variant = Variant(scheme="fp32", program=capture(network, spec.example()))
    export_files([variant], described, formats=["onnx", "tflite"], out=out)
    write_reference(out, networks={"fp32": network}, spec=described, clips=spec)
    return out


def test_the_program_imports_nothing_of_this_project():
    names = ("benchmarks", "compress", "export", "models")
    assert not [
        name for name in names if f"import {name}" in BOARD.read_text() or f"from {name}" in BOARD.read_text()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_the_reference_clip_gives_its_logits(export, kind):
    manifest = json.loads((export / "manifest.json").read_text())
    reference, clip = manifest["reference"], manifest["clip"]
    video = reference["video"]
    found = list(
        program().classify(export, export / video["path"], kind=kind, scheme="fp32", seconds=video["end_s"])
    )
    # The reference takes the middle of a longer video for strided sampling; the program classifies every window.
    place = -1
    if clip["sampling"] == "strided":
        frames = len(found) + (clip["frames"] - 1) * clip["stride"]
        place = (frames - (clip["frames"] - 1) * clip["stride"] - 1) // 2
    (stored,) = [one for one in reference["outputs"] if one["format"] == kind]
    expected = np.load(export / stored["path"])
    logits = found[place][1]["logits"]
    np.testing.assert_allclose(logits, expected, atol=2e-2 * np.abs(expected).max())
    others = [one[1]["logits"] for one in found if one is not found[place]]
    assert any(np.abs(one - expected).max() > 2e-2 * np.abs(expected).max() for one in others), (
        "frames matter"
    )


@pytest.mark.slow
def test_the_program_prints_predictions(export):
    video = export / json.loads((export / "manifest.json").read_text())["reference"]["video"]["path"]
    words = [sys.executable, BOARD, export, video, "--scheme", "fp32", "--seconds", "1", "--every", "3"]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    assert done.stdout.count(" s  motion: ") > 2 and "%" in done.stdout
    missing = subprocess.run([*map(str, words), "--scheme", "w4"], capture_output=True, text=True)
    assert missing.returncode == 1 and "has no onnx w4 file" in missing.stderr
