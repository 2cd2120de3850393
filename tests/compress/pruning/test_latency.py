"""The target latency, with real files in a real runtime."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from compress.pruning.config import PruneConfig
from compress.pruning.cut import cut_channels
from compress.pruning.latency import Latency
from compress.pruning.target import Setting
from compress.pruning.timing import Timed
from tests.specs import small_spec

pytestmark = pytest.mark.slow


def test_the_search_meets_its_target_by_its_own_measurements_and_keeps_its_table(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(3, 64, 3, stride=(1, 2, 2), padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(64, 3),
    ).eval()
    spec = small_spec("clip")
    target = Latency(model, Setting(spec=spec, cache=tmp_path))
    assert target.original > 0 and "latency of fp32 files in ONNX Runtime" in target.notes[0]
    cut = cut_channels(model, spec, config=PruneConfig(latency=0.6), target=target)
    assert cut.cost <= 0.6 * target.original
    assert cut.cost >= 0.58 * target.original or "points less than asked" in cut.notes[-1]
    assert cut.model[0].out_channels < 64 and cut.model[0].out_channels % 8 == 0
    (table,) = (tmp_path / "latency").glob("*.json")
    assert {name: len(shares) for name, shares in json.loads(table.read_text()).items()} == {"0": 2}


@pytest.mark.parametrize(("runtime", "scheme"), [("tflite", "w8a8"), ("executorch", "w8a8")])
def test_files_of_other_runtimes_and_int8_are_measured(runtime, scheme):
    layers = nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3)
    model = nn.Sequential(*layers).eval()
    timed = Timed(model, Setting(spec=small_spec("clip"), runtime=runtime, scheme=scheme))
    assert timed.p50_ms > 0
    (share,) = timed.shares([model])
    assert 0.2 < share < 5, "the same network"
