"""Bias correction: the mean of every output channel is the float network's again."""

from __future__ import annotations

import pytest
import torch

from export.bias_correction import correct_biases
from export.capture import capture
from export.lower import lower
from export.reference import calibrate, convert, prepare
from tests.export.networks import MobileNet3D, trained


def batches(count: int = 8) -> list[tuple[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.rand(1, 3, 4, 16, 16, generator=generator),) for _ in range(count)]


@pytest.fixture(scope="module")
def graphs():
    """The lowered float graph and its int8 reference."""
    lowered = lower(capture(trained(MobileNet3D()), batches(1)[0]))
    prepared = prepare(lowered)
    calibrate(prepared, batches())
    return lowered, convert(prepared)


def mean_error(lowered, reference) -> float:
    with torch.no_grad():
        shifts = [reference(*batch) - lowered(*batch) for batch in batches()]
    return float(torch.stack(shifts).mean(0).abs().max())


def test_the_mean_of_the_outputs_comes_nearer_to_float(graphs):
    lowered, reference = graphs
    corrected = correct_biases(lowered, reference, batches())
    assert 0 < mean_error(lowered, corrected) < 0.7 * mean_error(lowered, reference)


def test_the_reference_that_is_given_stays_as_it_is(graphs):
    lowered, reference = graphs
    before = {name: value.clone() for name, value in reference.state_dict().items()}
    corrected = correct_biases(lowered, reference, batches(2))
    assert all(torch.equal(value, before[name]) for name, value in reference.state_dict().items())
    changed = [name for name, value in corrected.state_dict().items() if not torch.equal(value, before[name])]
    assert changed and all(corrected.state_dict()[name].is_floating_point() for name in changed)


def test_without_inputs_it_refuses(graphs):
    with pytest.raises(
        ValueError, match="there is no input to correct the biases by; give at least one batch"
    ):
        correct_biases(*graphs, [])
