"""The findings of `--check` match the coverage of the file: the same lines, for each runtime.

One network by default; `POCKETREEL_AGREEMENT=1` compares a small one of every family, which takes half an hour.
"""

from __future__ import annotations

import os
import re

import pytest
import torch
from torch import Tensor, nn

from export.network import check_network, export_network
from export.outcome import ExportOutcome
from export.preflight import Finding
from models import STUDENTS
from models.spec import ClipSpec, LabelSpec, VideoSpec
from tests.export.test_preflight import Grouped
from tests.export.transformers import TimeSformer, VideoMae

FORMATS = ("onnx", "tflite", "executorch", "coreml")

FAMILIES = (
    "c3d_tiny", "i3d_tiny", "s3d_tiny", "r3d_tiny", "r2plus1d_tiny", "slowfast_tiny", "x3d_tiny",
    "mobilenet3d_tiny",
    "mobilenet3d_v3_tiny", "shufflenet3d_tiny", "mobilenet2plus1d_tiny", "movinet_tiny", "cnn_lstm_tiny",
    "video_transformer_tiny",
)  # fmt: skip
"""A small network of every family of the comparison."""


class Gated(nn.Module):
    """Curves, and means over time by a constant matrix, as in MobileNetV3 and MoViNet."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(3, 16, (1, 3, 3)), nn.Conv3d(16, 16, 1)
        self.gate, self.head = nn.Conv3d(16, 16, 1), nn.Linear(16, 2)
        self.register_buffer("means", torch.tril(torch.ones(8, 8)).T / torch.arange(1, 9))

    def forward(self, clip: Tensor) -> Tensor:
        x = self.second(nn.functional.hardswish(self.first(clip)))
        over_time = x.mean((3, 4)) @ self.means
        gate = nn.functional.hardsigmoid(self.gate(over_time[..., None, None]))
        return self.head((x * gate).mean((2, 3, 4)))


USERS = {"videomae": VideoMae, "timesformer": TimeSformer, "grouped": Grouped, "gated": Gated}

ASKED = bool(os.environ.get("POCKETREEL_AGREEMENT"))
ALL = [*FAMILIES, *USERS] if ASKED else ["grouped", "gated"]
IN_FLOAT16 = ["x3d_tiny", "cnn_lstm_tiny", "videomae", "grouped"] if ASKED else []


def made(name: str) -> tuple[nn.Module, str]:
    torch.manual_seed(0)
    if name in USERS:
        return USERS[name](), "1x3x8x32x32"
    frames = 16 if name == "slowfast_tiny" else 8
    network = STUDENTS[name]
    spec = ClipSpec(
        video=VideoSpec(frames=frames, size=32, resize=32),
        labels=(LabelSpec(name="scene", classes=("a", "b")),),
    )
    return network.build(spec, network.options()), f"1x3x{frames}x32x32"


def reported_lines(found: tuple[Finding, ...], name: str, scheme: str) -> set[str | None]:
    """Lines that the check reports as slow; ONNX Runtime's int8 coverage includes float operators."""
    counted = ("slow", "float") if name == "onnx" and scheme == "w8a8" else ("slow",)
    return {one.place for one in found if one.format == name and one.severity in counted}


def compare(name: str, scheme: str, tmp_path, formats: tuple[str, ...] = FORMATS) -> None:
    network, shape = made(name)
    found = check_network(network, [shape], formats=formats, scheme=scheme)
    assert not [one for one in found if one.severity == "refused"]
    calibration = "random" if scheme == "w8a8" else None
    exported = export_network(
        network, [shape], formats=formats, schemes=[scheme], calibration=calibration, out=tmp_path
    )
    wrong = {}
    for outcome in exported.outcomes:
        assert outcome.coverage is not None, outcome.reason
        lines, left = (
            reported_lines(found, outcome.format, scheme),
            {one.place for one in outcome.coverage.left},
        )
        if (outcome.format, scheme) == ("coreml", "fp32"):
            assert lines == {None} and outcome.coverage.share == 0
        elif lines != left and not is_of_another_form(outcome):
            wrong[outcome.format] = {"check alone": lines - left, "file alone": left - lines}
    assert not wrong


def is_of_another_form(outcome: ExportOutcome) -> bool:
    """Whether another form than that of the check was fastest in ONNX Runtime here."""
    return any(re.match("form: (original network|batched frames)", note) for note in outcome.notes)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["fp32", "w8a8"])
@pytest.mark.parametrize("name", ALL)
def test_the_check_and_the_file_name_the_same_lines(tmp_path, name, scheme):
    compare(name, scheme, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_FLOAT16)
def test_the_same_in_float16(tmp_path, name):
    compare(name, "fp16", tmp_path, formats=("onnx", "tflite", "coreml"))
