"""Learned step sizes: gradients by the paper's formula, and steps that survive conversion."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from export.capture.graph import capture
from export.lower import lower
from export.quantize.int8_reference import calibrate, convert, prepare, transfer
from export.quantize.learned_steps import (
    LEARNED,
    LearnedRange,
    rounded,
    scaled_gradient,
    start_learning,
    stop_learning,
)


@pytest.mark.parametrize(
    ("value", "expected", "of_step", "of_x"),
    [
        (0.7, 0.5, round(1.4) - 1.4, 1.0),
        (0.8, 1.0, round(1.6) - 1.6, 1.0),
        (-0.3, -0.5, round(-0.6) + 0.6, 1.0),
        (9.0, 1.5, 3.0, 0.0),
        (-9.0, -2.0, -4.0, 0.0),
    ],
)
def test_gradients_of_value_and_step(value, expected, of_step, of_x) -> None:
    # Step 0.5, integers -4..3.
    x, step = torch.tensor(value, requires_grad=True), torch.tensor(0.5, requires_grad=True)
    result = rounded(x, step, torch.tensor(0), -4, 3)
    result.backward()
    assert result.item() == pytest.approx(expected)
    assert step.grad.item() == pytest.approx(of_step, abs=1e-6) and x.grad.item() == of_x


def test_a_clipped_value_counts_from_the_zero_point() -> None:
    step = torch.tensor(0.5, requires_grad=True)
    result = rounded(torch.tensor(900.0), step, torch.tensor(-128), -128, 127)
    result.backward()
    assert result.item() == 127.5 and step.grad.item() == 255


def test_the_gradient_of_the_step_is_scaled_and_its_value_is_not() -> None:
    step = torch.tensor(2.0, requires_grad=True)
    scaled = scaled_gradient(step, 1 / math.sqrt(16))
    (3 * scaled).backward()
    assert scaled.item() == 2.0 and step.grad.item() == 0.75


def test_steps_are_trained_and_kept_by_the_reference() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    batch = torch.rand(4, 3, 8, 8)

    def graph(count: int):
        return prepare(lower(capture(network, (batch[:count],))), qat=True, ranges=LEARNED)

    prepared = graph(4)
    calibrate(prepared, [(batch,)])
    before = prepared(batch)
    weights = len(list(prepared.parameters()))
    steps = start_learning(prepared)
    learned = [one for name, one in prepared.named_parameters() if name.endswith("multiple")]
    assert steps == 5 and len(list(prepared.parameters())) == weights + 5, "input, two weights, ReLU, logits"
    assert sorted(one.numel() for one in learned) == [1, 1, 1, 2, 4]
    assert torch.allclose(prepared(batch), before, atol=2e-3), "learning starts from the calibrated steps"
    optimizer = torch.optim.Adam(prepared.parameters(), lr=1e-2)
    for _ in range(5):
        loss = (prepared(batch) - 0.9 * before.detach()).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(bool((one != 1).all()) for one in learned)
    stop_learning(prepared)
    single = graph(1)
    transfer(prepared, single)
    reference = convert(single)
    with torch.no_grad():
        given = torch.cat([reference(batch[i : i + 1]) for i in range(4)])
        assert torch.allclose(given, prepared(batch), atol=0.02 * float(given.abs().max()))
    stored = {value.args[1] for value in reference.graph.nodes if "quantize_per_tensor" in str(value.target)}
    kept = {float(module.scale) for module in prepared.modules() if isinstance(module, LearnedRange)}
    assert stored == kept and len(kept) == 3
