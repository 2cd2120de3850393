"""The schedule of quantization-aware training."""

from __future__ import annotations

import torch
from torch import nn

from compress.quantization import qat
from compress.quantization.method import Task
from compress.quantize import QuantizeConfig
from export.capture.graph import capture
from export.lower import lower
from export.quantize.int8_reference import calibrate, prepare
from export.quantize.observers import TrainedRange


class Unused:
    """A context whose parts are passed on."""

    def __getattr__(self, name):
        return self

    def __call__(self, *args, **options):
        return self


def test_activation_ranges_follow_for_a_third_of_the_steps_and_then_stay(monkeypatch):
    example = (torch.rand(2, 3, 8, 8),)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    prepared = prepare(lower(capture(network, example)), qat=True)
    calibrate(prepared, [example])
    observed = []

    def fit(model, *args, on_step, **options):
        for step in range(6):
            on_step(step, 6)
            ranges = [module for module in model.modules() if isinstance(module, TrainedRange)]
            observed.append({bool(module.observer_enabled.item()) for module in ranges})
        return ({"epoch": 1},)

    for name, stand_in in (("fit", fit), ("best_criterion", Unused()), ("training_job", Unused())):
        monkeypatch.setattr(qat, name, stand_in)
    task = Task(spec=Unused(), config=QuantizeConfig(method="qat"), context=Unused(), batches=Unused())
    decision = qat.train_rounded(prepared, task)
    assert observed == [{True}, {True}, {False}, {False}, {False}, {False}]
    assert decision.curve == ({"epoch": 1},) and "1/3 of the steps" in decision.notes[0]


def test_the_default_learning_rate_is_that_of_published_settings():
    assert 1e-5 <= QuantizeConfig(method="qat").learning_rate <= 1e-4
