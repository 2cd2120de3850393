"""The stage `quantize` with its steps beside the method, and files of weights that it rounded."""

from __future__ import annotations

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from compress.artifact import Artifact, Form, size_of
from compress.distillation.config import DistillationConfig
from compress.quantize import QuantizeConfig, quantize
from compress.stage import Context
from export.files import Variant, export_files
from export.manifest import file_spec
from tests.export.networks import conv, trained

pytestmark = pytest.mark.slow


class Dense(nn.Module):
    """Dense convolutions with ReLU, which hold nearly all weights."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(3, 32, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), act=nn.ReLU),
            conv(32, 128, 3, stride=(1, 2, 2), padding=1, act=nn.ReLU),
            conv(128, 128, 3, stride=(1, 2, 2), padding=1, act=nn.ReLU),
        )
        self.classifier = nn.Linear(128, classes)

    def forward(self, clip: Tensor) -> Tensor:
        return self.classifier(self.layers(clip).mean((2, 3, 4)))


@pytest.fixture
def student(tiny_data):
    spec = tiny_data.spec.only(("clip",))
    return Artifact(model=trained(Dense(len(spec.labels[0].classes))), spec=spec)


def context(student, data, folder):
    return Context(
        device=torch.device("cpu"),
        seed=0,
        data=data,
        teacher=None,
        distillation=DistillationConfig(),
        build_student=lambda: student.model,
        folder=folder,
        cache=folder / "cache",
        console=Console(quiet=True),
    )


def test_w4_weights_rounded_by_adaround_are_those_of_the_file(student, tiny_data, tmp_path):
    given = {"scheme": "w4", "method": "adaround", "iterations": 30, "batch": 4, "calibration_clips": 8}
    given |= {"equalize": True, "correct_bias": True}
    result = quantize(student, QuantizeConfig.model_validate(given), context(student, tiny_data, tmp_path))
    artifact = result.artifact
    assert artifact.form is Form.QUANTIZED
    assert "cross-layer equalization of 2 pairs of layers with ReLU between them" in result.notes
    assert "biases of 4 layers corrected" in result.notes
    assert any(note.startswith("AdaRound: the outputs of ") for note in result.notes)
    program = torch.export.export(artifact.model, artifact.spec.example())
    variant = Variant(scheme="w4", program=program)
    (file,) = export_files(
        [variant], file_spec(artifact.spec, provenance={}), formats=["onnx"], out=tmp_path / "out"
    )
    assert file.failure is None
    assert file.size_bytes / size_of(student.model, student.spec).parameters <= 0.6
    from export.emit.onnx.session import open_session

    clip = artifact.spec.example()[0]
    (logits,) = open_session(tmp_path / "out" / file.path).run(None, {"clip": clip.numpy()})
    assert torch.allclose(torch.from_numpy(logits), artifact.model(clip), atol=1e-4)


def test_w4_weights_in_groups_are_those_of_the_file_and_cost_little(student, tiny_data, tmp_path):
    given = {"scheme": "w4", "group_size": 128, "calibration_clips": 8, "batch": 4}
    result = quantize(student, QuantizeConfig.model_validate(given), context(student, tiny_data, tmp_path))
    assert any("2 of 2 int4 weights have a scale per group" in note for note in result.notes), result.notes
    program = torch.export.export(result.artifact.model, result.artifact.spec.example())
    spec = file_spec(result.artifact.spec, provenance={})
    (file,) = export_files(
        [Variant(scheme="w4", program=program)], spec, formats=["onnx"], out=tmp_path / "out"
    )
    assert file.failure is None
    assert file.size_bytes / size_of(student.model, student.spec).parameters <= 0.6
