"""How a recipe chooses the forms of files: a target, a device, pins."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from benchmarks.device import SessionFailed, Unavailable
from compress.artifact import Artifact
from compress.recipe import Recipe, RecipeError, parse_recipe
from compress.recipe.plan import plan
from compress.recipe.sections import ExportConfig
from compress.steps.export import export
from compress.steps.forms import chosen_forms, code_of_forms, key_of_forms
from compress.steps.pipeline import Run, StageOutcome, StepFailed
from compress.stopwatch import DeviceStopwatch
from export.manifest import TensorInfo, WrittenFile
from export.pins import read_pins
from export.targets import BATCHED, PER_FRAME
from tests.benchmarks.scripted_device import ScriptedDevice

RECIPE = """
data: {source: synthetic}
clip: {frames: 4, size: 32}
student: {network: mobilenet3d_tiny}
"""


def recipe(settings: str) -> Recipe:
    return parse_recipe(f"{RECIPE}export: {settings}\n", name="small")


def pins(tmp_path: Path, forms: object) -> Path:
    path = tmp_path / "forms.json"
    path.write_text(json.dumps(forms))
    return path


REFUSED = {
    "{target: arm}": r"export.target \(line 5\): .*'arm'.*x86-64-amx",
    "{target: {device: sssh:pi@board}}": r"export.target.*device 'sssh' is unknown; allowed: host, ssh, adb",
    "{target: {devise: host}}": r"export.target.*unknown key; did you mean 'device'",
    "{forms: nowhere.json}": r"export.forms \(line 5\): nowhere.json: no such file; give the manifest.json",
}


@pytest.mark.parametrize("settings", REFUSED)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(RecipeError, match=REFUSED[settings]):
        recipe(settings)


@pytest.mark.parametrize(
    ("stage", "target", "bits"),
    [
        ("{}", "x86-64-avx2", 7),
        ("{method: qat}", "x86-64-avx2", 7),
        ("{weight_bits: 8}", "x86-64-avx2", 8),
        ("{}", "x86-64-vnni", None),
        ("{weight_bits: 7}", "x86-64-vnni", 7),
        ("{scheme: w8}", "x86-64-avx2", None),
    ],
)
def test_a_target_without_vnni_quantizes_weights_to_7_bits(stage, target, bits):
    trained = (
        "teacher: {network: multimodal, train: {epochs: 1}}\nstages: [{distill: {epochs: 1}}, {quantize: "
    )
    stages = f"{RECIPE}{trained}{stage}}}]\n"
    _, entry = parse_recipe(f"{stages}export: {{target: {target}}}\n", name="small").stages
    assert entry.config.weight_bits == bits
    _, unchanged = parse_recipe(stages, name="small").stages
    assert unchanged.config.weight_bits == (bits if "weight_bits" in stage else None)


WRONG_BITS = {
    "{weight_bits: 6}": "weight_bits.*6",
    "{scheme: w4, weight_bits: 7}": "weight_bits is for scheme w8a8 only",
}


@pytest.mark.parametrize("stage", WRONG_BITS)
def test_wrong_bits_are_refused(stage):
    with pytest.raises(RecipeError, match=WRONG_BITS[stage]):
        parse_recipe(f"{RECIPE}stages: [{{quantize: {stage}}}]\n", name="small")


def test_pins_and_a_target_are_refused(tmp_path):
    path = pins(tmp_path, {"forms": {"onnx.fp32": PER_FRAME}})
    with pytest.raises(RecipeError, match=r"export.forms .*whatever the target is; remove one of both"):
        recipe(f"{{target: arm64, forms: {path}}}")


WRONG_PINS = {
    "pins no form": {"files": [{"format": "onnx", "scheme": "fp32", "form": None}]},
    "form 'winograd' of onnx.fp32 is unknown; allowed: batched frames, per-frame": {
        "forms": {"onnx.fp32": "winograd"}
    },
    "pins no form; give": ["onnx.fp32"],
}


@pytest.mark.parametrize("message", WRONG_PINS)
def test_files_without_pins_are_refused(tmp_path, message):
    path = pins(tmp_path, WRONG_PINS[message])
    with pytest.raises(RecipeError, match=f"export.forms .*{message}"):
        recipe(f"{{forms: {path}}}")


def test_pins_are_read_from_a_manifest(tmp_path):
    rows = [
        {
            "format": "onnx",
            "scheme": "fp32",
            "form": {"name": PER_FRAME},
            "step": {"form": {"name": BATCHED}},
        },
        {"format": "tflite", "scheme": "fp32", "form": None, "step": None},
    ]
    path = pins(tmp_path, {"files": rows})
    assert read_pins(path) == {"onnx.fp32": PER_FRAME, "onnx.fp32.step": BATCHED}
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match=r"broken.json: is not JSON .*; give the manifest.json of an export"):
        read_pins(tmp_path / "broken.json")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("{}", ""),
        ("{target: arm64}", "forms for arm64"),
        ("{target: {device: ssh:pi@board}}", "forms measured on ssh"),
        ("{target: {device: {ssh: {address: pi@board, name: big}}}}", "forms measured on big"),
    ],
)
def test_the_plan_says_how_forms_are_chosen(settings, said):
    (step,) = [step for step in plan(recipe(settings)).steps if step.name == "export"]
    assert step.description.partition("forms ")[0] + said == step.description


def test_the_key_has_the_choice(tmp_path):
    path = pins(tmp_path, {"forms": {"onnx.fp32": PER_FRAME}})
    given = [
        ExportConfig(),
        ExportConfig(target="arm64"),
        ExportConfig(target={"device": "ssh:pi@board"}),
        ExportConfig(target={"device": "ssh:pi@other"}),
        ExportConfig(forms=path),
    ]
    keys = [json.dumps(key_of_forms(one)) for one in given]
    assert len(set(keys)) == len(keys)
    path.write_text(json.dumps({"forms": {"onnx.fp32": BATCHED}}))
    assert json.dumps(key_of_forms(given[-1])) not in keys, "by content"
    assert [code_of_forms(one) for one in given] == [
        [],
        [],
        *[["benchmarks.ssh.settings"]] * 2,
        [],
    ]


def test_settings_become_a_choice(tmp_path):
    with chosen_forms(ExportConfig()) as forms:
        assert forms.of("onnx.fp32").source == "host"
    with chosen_forms(ExportConfig(target="wasm")) as forms:
        assert (forms.of("onnx.fp32").by, forms.of("onnx.fp32").source) == ("rule", "wasm")
    with chosen_forms(ExportConfig(forms=pins(tmp_path, {"forms": {"onnx.fp32": PER_FRAME}}))) as forms:
        assert forms.of("onnx.fp32").order == (PER_FRAME,) and forms.source == "forms.json"
    with chosen_forms(ExportConfig(target={"device": "host"})) as forms:
        choice = forms.of("onnx.fp32")
        assert choice.elsewhere and re.fullmatch(r"host \(.+\)", choice.source)


def written(tmp_path, name: str) -> WrittenFile:
    path = tmp_path / name
    path.write_bytes(b"file")
    clip = TensorInfo(name="clip", shape=(1, 3, 2, 4, 4), dtype="float32", layout="NCTHW")
    return WrittenFile(path=path, inputs=(clip,), outputs=())


class Ours(ScriptedDevice):
    """A device whose times depend on the file; sessions note their inputs."""

    def __init__(self, times) -> None:
        super().__init__(lambda *_: 1.0)
        self.of_files, self.held = times, []

    def open(self, file):
        session, device = super().open(file), self

        def time_runs(count):
            value = device.of_files[file.path.name]
            if isinstance(value, Exception):
                raise value
            return np.full(count, round(value * 1e6), dtype=np.int64)

        session.time_runs = time_runs
        session.hold = lambda inputs: device.held.append(inputs["clip"].shape)
        return session


def test_a_stopwatch_gives_medians_and_reasons(tmp_path):
    device = Ours({"a": 2.0, "b": SessionFailed("b: no kernel"), "c": 1.5})
    watch = DeviceStopwatch(device)
    assert watch.name == "scripted (scripted)"
    files = [written(tmp_path, name) for name in "abc"]
    assert watch.times(files, format="onnx", scheme="fp32") == [2.0, "b: no kernel", 1.5]
    assert set(device.held) == {(1, 3, 2, 4, 4)}


def test_a_lost_device_is_no_reason_against_a_file(tmp_path):
    watch = DeviceStopwatch(Ours({"a": 2.0, "b": Unavailable("the connection is gone")}))
    expected = (
        r"the forms of onnx.fp32 cannot be measured on scripted \(scripted\): the connection is gone; export"
    )
    with pytest.raises(Unavailable, match=expected):
        watch.times([written(tmp_path, name) for name in "ab"], format="onnx", scheme="fp32")


def of(settings: str, data, folder: Path) -> Run:
    return Run(
        recipe=recipe(settings),
        data=data,
        folder=folder,
        cache=folder / "cache",
        device=torch.device("cpu"),
        console=Console(quiet=True),
    )


@pytest.mark.slow
def test_a_device_that_cannot_be_reached_ends_the_export(tiny_data, tmp_path):
    run = of("{target: {device: {ssh: {address: nobody@127.0.0.1, port: 1}}}}", tiny_data, tmp_path)
    student = Artifact(model=run.build_student(), spec=run.student_spec, history=({"name": "distill"},))
    outcome = StageOutcome(path="", folder="", key="0", artifact=student, test_logits=(), cached=False)
    with pytest.raises(StepFailed, match=r"export: .*nobody@127.0.0.1"):
        export(run, {"fp32": outcome})
    assert not (tmp_path / "export" / "manifest.json").exists()
