"""Contract of every streaming row of `STUDENTS`: N steps give the logits of the clip of these N frames."""

from __future__ import annotations

import pytest
import torch

from models import STUDENTS
from models.spec import describe_state
from models.statistics import settle_statistics
from tests.contracts.test_networks import LARGE
from tests.specs import clip_spec

ROWS = [pytest.param(row, id=name) for name, row in STUDENTS.items() if row.streams and name not in LARGE]
LARGE_ROWS = [pytest.param(row, id=name) for name, row in STUDENTS.items() if row.streams and name in LARGE]


def settled(row, *, frames=6, size=32):
    """The network with activations of the size that a trained one has, and a clip."""
    torch.manual_seed(0)
    spec = clip_spec(frames=frames, size=size, classes=5)
    model = row.build(spec, row.options())
    settle_statistics(model, spec)
    return model, spec.example(batch=2)[0]


@pytest.mark.parametrize("row", ROWS)
def test_after_every_frame_it_answers_what_the_clip_so_far_is_answered(row):
    model, clip = settled(row)
    state = model.initial_state(clip[:, :, 0])
    with torch.no_grad():
        for seen in range(1, clip.shape[2] + 1):
            logits, state = model.step(clip[:, :, seen - 1], state)
            torch.testing.assert_close(logits, model(clip[:, :, :seen]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("row", ROWS)
def test_its_state_begins_with_zeros_and_keeps_names_shapes_and_types(row):
    model, clip = settled(row)
    state = model.initial_state(clip[:, :, 0])
    assert not any(tensor.any() for tensor in state.values())
    with torch.no_grad():
        _, following = model.step(clip[:, :, 0], state)
    assert describe_state(following) == describe_state(state)


@pytest.mark.parametrize("row", LARGE_ROWS)
def test_large_networks_step_too(row):
    spec = clip_spec(frames=4, size=112, classes=5)
    with torch.device("meta"):
        model = row.build(spec, row.options()).eval()
        frame = torch.empty(1, 3, 112, 112)
        state = model.initial_state(frame)
        logits, following = model.step(frame, state)
    assert logits.shape == (1, 5)
    assert {name: value.shape for name, value in following.items()} == {
        name: value.shape for name, value in state.items()
    }
    assert max(value.dim() for value in state.values()) <= 4
