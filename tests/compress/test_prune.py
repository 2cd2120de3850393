"""Students without some of their heads and recurrent units; `tests/contracts/test_stages.py` tests the stage."""

from __future__ import annotations

import pytest
import torch

from compress.pruning.config import PruneConfig
from compress.pruning.cut import cut_channels
from export.capture.graph import capture
from export.lower import lower
from models import STUDENTS
from tests.specs import small_spec

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["video_transformer_tiny", "cnn_lstm_tiny"])
def test_without_heads_or_units_it_is_captured_and_lowered(name):
    spec, row = small_spec("clip"), STUDENTS[name]
    torch.manual_seed(0)
    original = row.build(spec, row.options()).eval()
    model = cut_channels(original, spec, config=PruneConfig(macs=0.2, round_to=2, scope="layer")).model
    if name == "cnn_lstm_tiny":
        assert model.recurrent.hidden_size < original.recurrent.hidden_size
    else:
        assert [block.attention.heads for block in model.blocks] == [1, 1], "2 before"
        assert model.norm.normalized_shape[0] < 32
    lowered = lower(capture(model, spec.example()))
    torch.testing.assert_close(lowered(*spec.example()), model(*spec.example()), atol=1e-5, rtol=1e-4)
