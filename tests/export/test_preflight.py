"""Findings of the runtimes on a network, before anything is written."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.network import check_network, export_network
from tests.commands import run_command_line
from tests.export.user_nets import WeightNormed

pytestmark = pytest.mark.slow


class Friendly(nn.Module):
    """Operators that every runtime supports."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.convolution(x)).mean((2, 3, 4)))


class Gamma(Friendly):
    """An operator that no mobile runtime has."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.lgamma(x.abs() + 1))


class Curved(Friendly):
    """An activation that XNNPACK has in float only."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.gelu(self.convolution(x))[:, :3])


class OptionalOutput(Friendly):
    """An output that exists in training only."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return super().forward(x), None


class Dropping(Friendly):
    """Dropout that ignores eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.convolution(x)).mean((2, 3, 4)))


SHAPES = ["1x3x4x16x16"]


def test_a_friendly_network_is_not_refused() -> None:
    findings = check_network(Friendly(), SHAPES, formats=["onnx", "tflite", "executorch", "coreml"])
    assert not [finding for finding in findings if finding.severity == "refused"]


def test_a_refusal_names_operator_line_and_replacement() -> None:
    findings = check_network(Gamma(), SHAPES, formats=["executorch"])
    refused = [finding for finding in findings if finding.severity == "refused"]
    assert refused
    assert "test_preflight.py" in (refused[0].place or "") and "lgamma" in (refused[0].place or "")
    assert refused[0].instead


@pytest.mark.parametrize("scheme", ["w8", "w4"])
def test_float_activations_beside_stored_weights_are_not_refused(scheme: str) -> None:
    assert not [
        found
        for found in check_network(Friendly(), SHAPES, formats=["executorch"], scheme=scheme)
        if found.severity == "refused"
    ]


def test_float_operators_of_an_int8_file_are_reported() -> None:
    findings = check_network(Curved(), SHAPES, formats=["executorch"], scheme="w8a8")
    assert any(finding.operator == "gelu" and finding.severity in ("float", "slow") for finding in findings)


def test_none_among_the_outputs_and_weights_that_hooks_compute() -> None:
    for network in (OptionalOutput(), WeightNormed()):
        findings = check_network(network, SHAPES, formats=["onnx"])
        assert not [finding for finding in findings if finding.severity == "refused"]


def test_dropout_that_is_left_on_is_refused_with_its_line() -> None:
    (finding,) = check_network(Dropping(), SHAPES, formats=["onnx"])
    assert (finding.operator, finding.why) == ("native_dropout", "its result is random")
    assert "F.dropout(self.convolution(x))" in (finding.place or "")


def test_unknown_format() -> None:
    with pytest.raises(ValueError, match="format 'tfl' is unknown"):
        check_network(Friendly(), SHAPES, formats=["tfl"])


def test_the_command_exits_with_3_for_a_refusal_and_writes_nothing(tmp_path) -> None:
    command = ["export.run", "tests.export.test_preflight:Gamma", "--shape", SHAPES[0], "--check"]
    ended = run_command_line([*command, "--formats", "onnx"])
    assert ended.returncode == 3, ended.stderr
    assert "refused" in ended.stdout


def test_out_is_needed_without_check() -> None:
    ended = run_command_line(["export.run", "tests.export.test_preflight:Friendly", "--shape", SHAPES[0]])
    assert ended.returncode == 2
    assert "--out is missing" in ended.stderr


class Mixed(Friendly):
    """Operators that runtimes support differently, one per line."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(8), nn.Conv3d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.convolution(x)
        x = nn.functional.gelu(x)
        x = self.mix(x)
        x = nn.functional.avg_pool3d(x, (1, 2, 2))
        x = self.mix(x)
        x = self.norm(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)
        x = self.head(x.mean((2, 3, 4)))
        return nn.functional.log_softmax(x, -1)


def code_of(place: str | None) -> str | None:
    """The line of code in a place."""
    return None if place is None else place.split("`")[1]


def test_findings_match_the_runtimes(tmp_path) -> None:
    """Writes an int8 file of each format: its coverage names the lines that the check reported."""
    import json

    formats = ["onnx", "tflite", "executorch"]
    found = check_network(Mixed(), SHAPES, formats=formats, scheme="w8a8")
    exported = export_network(
        Mixed(), SHAPES, formats=formats, schemes=["w8a8"], calibration="random", out=tmp_path
    )
    assert all(outcome.path is not None for outcome in exported.outcomes)
    left = {
        row["format"]: {code_of(one["place"]) for one in row["coverage"]["left"]} - {None}
        for row in json.loads(exported.manifest.read_text())["files"]
    }

    def lines(name: str, *severities: str) -> set[str | None]:
        return {code_of(one.place) for one in found if one.format == name and one.severity in severities}

    assert not [one for one in found if one.severity == "refused"]
    # XNNPACK leaves the operators it does not take; those without an integer kernel are between Q/DQ pairs.
    assert left["tflite"] == lines("tflite", "slow")
    assert left["executorch"] == lines("executorch", "slow")
    in_float = {"x = nn.functional.gelu(x)", "x = self.norm(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)"}
    assert in_float <= left["onnx"] and in_float <= lines("onnx", "float")


class Grouped(nn.Module):
    """Layers in torch containers, and GroupNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(3, 8, 3), nn.GroupNorm(2, 8), nn.Sequential(nn.GELU(), nn.Conv3d(8, 4, 1))
        )
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self._pooled(x))

    def _pooled(self, x: Tensor) -> Tensor:
        return self.features(x).mean((2, 3, 4))


def test_layers_in_containers_have_the_users_line_and_their_own_path() -> None:
    found = check_network(Grouped(), SHAPES, formats=["executorch"], scheme="w8a8")
    places = {one.operator: one.place for one in found}
    line = r"tests/export/test_preflight.py:\d+ `return self.features\(x\).mean\(\(2, 3, 4\)\)`"
    assert re.fullmatch(rf"{line}, in features.1 \(GroupNorm\)", places["group_norm"] or ""), places
    assert re.fullmatch(rf"{line}, in features.2.0 \(GELU\)", places["gelu"] or ""), places


def test_a_network_without_a_line_of_the_users_has_places_by_module() -> None:
    network = nn.Sequential(nn.Conv3d(3, 4, 1), nn.GELU(), nn.Flatten(), nn.Linear(4096, 3))
    (found,) = check_network(network, SHAPES, formats=["onnx"], scheme="w8a8")
    assert (found.operator, found.place) == ("gelu", "module '1' (GELU)")


def test_a_decomposed_norm_has_the_users_name_and_a_matching_remedy() -> None:
    for scheme in ("fp32", "w8a8"):
        found = check_network(Grouped(), SHAPES, formats=["onnx", "tflite", "executorch"], scheme=scheme)
        norms = [one for one in found if "GroupNorm" in (one.place or "")]
        assert {one.operator for one in norms} <= {"group_norm"}
        for one in norms:
            assert one.instead.startswith("use BatchNorm3d") and "ReLU6" not in one.instead
    assert norms


def test_core_ml_in_float32_is_reported_once() -> None:
    (found,) = check_network(Friendly(), SHAPES, formats=["coreml"])
    assert (found.severity, found.instead) == ("slow", "use the scheme fp16")
    assert not check_network(Friendly(), SHAPES, formats=["coreml"], scheme="fp16")
