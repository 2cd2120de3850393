"""The range of pruning; `tests/contracts/test_stages.py` tests the stage."""

from __future__ import annotations

import pytest
import torch

from compress.pruning.config import PruneConfig
from compress.pruning.cut import cut_channels
from models import STUDENTS
from tests.specs import small_spec

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", range(3))
def test_every_layer_gives_what_it_may_whatever_the_weights(seed):
    spec, row = small_spec("clip"), STUDENTS["video_transformer_tiny"]
    torch.manual_seed(seed)
    model = row.build(spec, row.options()).eval()
    cut_channels(model, spec, config=PruneConfig(macs=0.676, round_to=2))
    assert [block.layers[0].out_features for block in model.blocks] == [24, 24]
