"""Contract of every row of `QUANTIZATION_METHODS`."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from compress.artifact import Artifact, Form, weights_sha256
from compress.distillation.config import DistillationConfig
from compress.quantization import QUANTIZATION_METHODS
from compress.quantize import QuantizeConfig, quantize
from compress.stage import Context
from compress.training import logits_of
from models import STUDENTS
from models.statistics import settle_statistics


def config(name, **settings):
    given = {"method": name, "batch": 8, "calibration_clips": 16, **settings}
    if QUANTIZATION_METHODS[name].trains:
        given["epochs"] = 1
    if "iterations" in QUANTIZATION_METHODS[name].settings:
        given["iterations"] = 20
    return QuantizeConfig.model_validate(given)


@pytest.fixture
def student(tiny_data):
    torch.manual_seed(0)
    spec, row = tiny_data.spec.only(("clip",)), STUDENTS["mobilenet3d_tiny"]
    model = row.build(spec, row.options())
    settle_statistics(model, spec)
    return Artifact(model=model.eval(), spec=spec)


def quantized(name, student, data, folder):
    context = Context(
        device=torch.device("cpu"),
        seed=0,
        data=data,
        teacher=None,
        distillation=DistillationConfig(),
        build_student=lambda: student.model,
        folder=folder,
        cache=folder / "cache",
    )
    return quantize(student, config(name), context)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZATION_METHODS)
def test_it_gives_an_int8_reference_close_to_the_float_network_the_same_one_every_time(
    name, student, tiny_data, tmp_path
):
    before = weights_sha256(student.model)
    first = quantized(name, student, tiny_data, tmp_path / "first")
    again = quantized(name, student, tiny_data, tmp_path / "again")
    assert first.artifact.form is Form.QUANTIZED and weights_sha256(student.model) == before
    assert weights_sha256(first.artifact.model) == weights_sha256(again.artifact.model)
    assert len(first.curve) == (1 if QUANTIZATION_METHODS[name].trains else 0)
    clips = tiny_data.test.select(("clip",))
    floats = logits_of(student.model, clips, batch=8, device=torch.device("cpu"))[0]
    integers = logits_of(first.artifact.model, clips, batch=1, device=torch.device("cpu"))[0]
    noise = (floats - integers).square().mean() / floats.square().mean()
    # What trains moves on from the float network; here it may not lose the scale of its answers.
    assert noise < (1.0 if QUANTIZATION_METHODS[name].trains else 0.05)


@pytest.mark.parametrize("name", QUANTIZATION_METHODS)
def test_settings_of_training_are_taken_by_methods_that_train_alone(name):
    trains = QUANTIZATION_METHODS[name].trains
    assert config(name).trains is trains
    if trains:
        with pytest.raises(ValidationError, match="calibration_clips is 4, less than one batch of 8 clips"):
            config(name, calibration_clips=4)
    else:
        with pytest.raises(
            ValidationError, match=f"epochs is for method .* only; method {name} does not use it"
        ):
            config(name, epochs=5)


def test_a_method_that_there_is_not_is_refused():
    with pytest.raises(ValidationError, match="'ptq', 'adaround', 'qat' or 'lsq'"):
        QuantizeConfig(method="pqt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"method": "qat", "ranges": "kl"},
            "ranges is for method ptq or adaround only; method qat does not use it",
        ),
        (
            {"method": "lsq", "correct_bias": True},
            "correct_bias is for method ptq or adaround only; method lsq",
        ),
        ({"iterations": 50}, "iterations is for method adaround only; method ptq does not use it"),
        ({"percentile": 99.9}, "percentile is for ranges percentile only; ranges mse does not use it"),
        ({"method": "qat", "scheme": "w4"}, "method qat does not give w4; methods that do: ptq, adaround"),
        ({"group_size": 32}, "group_size is for scheme w4 only; scheme w8a8 does not use it"),
        ({"scheme": "w8", "group_size": 32}, "group_size is for scheme w4 only; scheme w8 does not use it"),
        ({"scheme": "w4", "max_latency": 0.5}, "max_latency is for scheme w8a8 only; scheme w4"),
        (
            {"runtime": "tflite"},
            "runtime tflite has no effect without max_latency_ms or max_latency; omit it",
        ),
        ({"scheme": "w4", "ranges": "kl"}, "ranges is for scheme w8a8 only; scheme w4 does not use it"),
    ],
)
def test_settings_that_have_no_effect_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        QuantizeConfig.model_validate(settings)
