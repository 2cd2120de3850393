"""Contract of every row of `PRUNING_CRITERIA`."""

from __future__ import annotations

import copy

import pytest
import torch

from compress.artifact import load_resized, size_of, weights_sha256
from compress.pruning import PRUNING_CRITERIA
from compress.pruning.config import PruneConfig
from compress.pruning.criterion import LabelledClips
from compress.pruning.cut import cut_channels
from models import STUDENTS
from tests.specs import small_spec

pytestmark = pytest.mark.slow

SPEC = small_spec("clip")


def network():
    torch.manual_seed(0)
    row = STUDENTS["mobilenet3d_tiny"]
    return row.build(SPEC, row.options()).eval()


def batches(count=3):
    for seed in range(count):
        labels = torch.randint(3, (4, 1), generator=torch.Generator().manual_seed(seed))
        yield LabelledClips(inputs=SPEC.example(batch=4, seed=seed), labels=labels)


def pruned(name):
    config = PruneConfig(macs=0.7, round_to=2, criterion=name)
    return cut_channels(network(), SPEC, config=config, clips=batches()).model


@pytest.mark.parametrize("name", PRUNING_CRITERIA)
def test_it_cuts_to_the_target_and_leaves_a_network_that_runs_and_loads_again(name):
    model, original = pruned(name), network()
    assert 0.68 <= size_of(model, SPEC).macs / size_of(original, SPEC).macs <= 0.7
    load_resized(original, model.state_dict())
    example = SPEC.example(batch=2)
    torch.testing.assert_close(original(*example), model(*example))


@pytest.mark.parametrize("name", PRUNING_CRITERIA)
def test_the_same_network_and_clips_lose_the_same_channels(name):
    assert weights_sha256(pruned(name)) == weights_sha256(pruned(name))


@pytest.mark.parametrize("name", PRUNING_CRITERIA)
def test_asking_it_changes_no_weight_and_no_mode(name):
    model = network()
    before = copy.deepcopy(model.state_dict())
    PRUNING_CRITERIA[name](model, batches())
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", PRUNING_CRITERIA)
def test_it_says_why_in_its_docstring_and_is_a_plain_function_of_its_own_module(name):
    row = PRUNING_CRITERIA[name]
    assert row.__doc__ and row.__module__ != "compress.pruning"
