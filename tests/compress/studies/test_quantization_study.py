"""The study of quantization methods: its settings, its other quantizers, its tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from compress.quantization import QUANTIZATION_METHODS
from compress.quantize import QuantizeConfig
from compress.studies.quantization import METHODS, _chosen, _divergence
from compress.studies.quantization_page import _tables
from compress.studies.quantization_peers import (
    latencies_ms,
    logits_of_file,
    nncf_default,
    onnxruntime_static,
    plain_pt2e,
)
from export.capture.graph import capture
from export.capture.inputs import parse_inputs
from export.lower import lower
from export.nncf_onnx import write_float
from export.quantize.ranges import RANGES
from export.samples import random_samples
from export.verify.parity import SQNR_LIMIT_DB

SHAPE = "1x3x2x12x12"


def test_every_method_and_range_is_measured_with_valid_settings():
    configs = [QuantizeConfig.model_validate({"batch": 16, **settings}) for settings in METHODS.values()]
    assert {config.method for config in configs} == set(QUANTIZATION_METHODS)
    assert {config.ranges for config in configs} == set(RANGES)
    assert any(config.equalize for config in configs) and any(config.correct_bias for config in configs)


def test_methods_are_chosen_by_pattern_and_a_pattern_without_any_is_refused():
    found = _chosen("w4, group_size 64*", iterations=20)
    assert found == {
        "w4, group_size 64": {"scheme": "w4", "group_size": 64},
        "w4, group_size 64, adaround": {
            "scheme": "w4",
            "group_size": 64,
            "method": "adaround",
            "iterations": 20,
        },
    }
    assert list(_chosen(None, iterations=20)) == list(METHODS)
    with pytest.raises(ValueError, match="--only: 'w9' matches no method; methods: w8a8, ranges minmax; "):
        _chosen("w9", iterations=20)


def test_the_divergence_of_a_fair_coin_from_one_of_three_quarters():
    given = np.log(np.array([[0.75, 0.25]]))
    assert _divergence(np.zeros((1, 2)), given) == pytest.approx(0.5 * math.log(4 / 3))


def test_tables_have_a_row_per_method_and_quantizer():
    row = {"top1": 0.9, "agreement": 0.95, "sqnr_db": 30.04, "kl": 0.01}
    figures = {
        "student": "tiny",
        "clips": {"train": 10, "test": 20},
        "parameters": 1000,
        "methods": {
            "float": {**row, "sqnr_db": SQNR_LIMIT_DB, "seconds": 0.0},
            "w8a8": {**row, "seconds": 3.0},
        },
        "quantizers": {"ours": {**row, "size_bytes": 4000, "latency_ms": 1.234}, "plain": row},
    }
    lines = list(_tables(figures))
    assert "| float | 90.0 % | 95.0 % | equal | 0.0100 | 0 s |" in lines
    assert "| w8a8 | 90.0 % | 95.0 % | 30.0 dB | 0.0100 | 3 s |" in lines
    assert "| ours | 90.0 % | 95.0 % | 30.0 dB | 0.0100 | 4 kB | 1.23 ms |" in lines
    assert "| plain | 90.0 % | 95.0 % | 30.0 dB | 0.0100 | no file |  |" in lines
    assert "One clip is 5.0 points" in lines[0]


@pytest.mark.slow
def test_other_quantizers_write_files_near_float(tmp_path):
    pytest.importorskip("nncf")
    torch.manual_seed(0)
    layers = nn.Conv3d(3, 8, (1, 3, 3)), nn.ReLU(), nn.BatchNorm3d(8), nn.Conv3d(8, 8, 1)
    network = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(1600, 4)).eval()
    inputs = parse_inputs([SHAPE])
    samples = random_samples(inputs, count=4)
    (name,) = samples.arrays
    calls = [{name: np.array(array)} for array in samples.arrays[name]]
    files = {"float": write_float(network, inputs, samples, tmp_path / "float.onnx")}
    for title, make in (("static", onnxruntime_static), ("nncf", nncf_default)):
        files[title] = tmp_path / f"{title}.onnx"
        make(files["float"], calls, files[title])
    wanted = logits_of_file(files["float"], calls)
    given = {title: logits_of_file(path, calls) for title, path in files.items()}
    batches = [(torch.from_numpy(call[name]),) for call in calls]
    plain = plain_pt2e(lower(capture(network, batches[0])), batches)
    given["pt2e"] = np.concatenate([plain(*batch).detach().numpy() for batch in batches])
    for title in ("static", "nncf", "pt2e"):
        assert 0 < np.abs(given[title] - wanted).max() < 0.1 * np.abs(wanted).max(), title
    latencies = latencies_ms(files, calls[0], rounds=2)
    assert set(latencies) == set(files) and min(latencies.values()) > 0
