"""docs/export-manifest.md documents every field of a real export, and its examples run."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.steps.reference_clip import write_reference
from export.description import describe
from export.export_file import Proof
from export.files import Variant, export_files
from export.manifest import file_spec
from export.trial import FLOAT, run_networks
from tests.export.small_nets import captured, clip_spec

PAGE = Path(__file__).parents[2] / "docs" / "export-manifest.md"

FREE_FORM = {"provenance", "spec"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    spec, out = clip_spec(), tmp_path_factory.mktemp("export")
    formats = ["onnx", "tflite", "executorch"]
    described = file_spec(spec, provenance={})
    program = captured(spec)
    clips = {"clip": torch.stack([spec.example(seed=seed)[0] for seed in range(2)]).numpy()}
    proof = Proof(trial=run_networks({FLOAT: program.module()}, clips, source="2 random clips"))
    outcomes = export_files(
        [Variant(scheme="fp32", program=program, proof=proof)], described, formats=formats, out=out
    )
    assert [outcome.reason for outcome in outcomes] == [None] * 3
    write_reference(out, networks={"fp32": program.module()}, spec=described, clips=spec)
    return out


def keys(value):
    """Every key of nested JSON, but not those inside free-form sections."""
    if isinstance(value, list):
        return set().union(*map(keys, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    inside = (keys(part) for name, part in value.items() if name not in FREE_FORM)
    return set(value).union(*inside)


@pytest.mark.slow
def test_every_field_of_a_real_manifest_is_documented(exported):
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    manifest = json.loads((exported / "manifest.json").read_text())
    alone = json.loads((exported / "onnx" / "fp32" / "model.json").read_text())
    assert not keys(manifest) - named
    assert not keys(alone) - named


def test_every_parameter_of_preparation_is_documented():
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    assert not keys(describe(clip_spec(audio=True, text=True), provenance={})) - named


@pytest.mark.slow
def test_the_python_examples_run_and_agree(exported, monkeypatch, capsys):
    monkeypatch.chdir(exported)
    spec = clip_spec()
    clip = spec.example(seed=3)[0].numpy()
    seen = []
    for example in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        names = {"clip": clip, "logits": seen[-1] if seen else None}
        exec(example, names)
        seen.append(names["logits"])
    assert len(seen) == 4
    for logits in seen:
        np.testing.assert_allclose(logits, seen[0], atol=1e-5)
    assert capsys.readouterr().out.strip().splitlines()[-1] in spec.labels[0].classes
