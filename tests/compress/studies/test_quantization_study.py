"""The study of quantization methods: its settings, its other quantizers, its tables."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.exported import read_export
from benchmarks.files import ExportedFile
from benchmarks.host import HOST
from compress.quantization import QUANTIZATION_METHODS
from compress.quantize import QuantizeConfig
from compress.studies.quantization import METHODS, _chosen, _divergence
from compress.studies.quantization_page import _tables
from compress.studies.quantization_peers import (
    FILE_QUANTIZERS,
    NETWORK_QUANTIZERS,
    FileQuantizer,
    made_or_reason,
)
from export.capture.graph import capture
from export.lower import lower
from export.network import export_network
from export.quantize.ranges import RANGES
from export.verify.parity import SQNR_LIMIT_DB


def small() -> tuple[nn.Module, list[tuple[torch.Tensor, ...]]]:
    """A network and four clips."""
    torch.manual_seed(0)
    layers = nn.Conv3d(3, 8, (1, 3, 3)), nn.ReLU(), nn.BatchNorm3d(8), nn.Conv3d(8, 8, 1)
    network = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(1600, 4)).eval()
    return network, [(torch.rand(1, 3, 2, 12, 12),) for _ in range(4)]


def logits_of(file: ExportedFile, array: np.ndarray) -> np.ndarray:
    """Logits of a file for one clip, in its own runtime."""
    (tensor,) = file.inputs
    with HOST.open(file) as session:
        session.load(threads=1)
        session.begin_infer({tensor.name: array})
        return session.end_infer()[0]


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
    file = {"size_bytes": 4000, "latency_ms": 1.234}
    alone, slower = {"value": 1.0, "ci95": [1.0, 1.0]}, {"value": 1.2, "ci95": [1.1, 1.3]}
    figures = {
        "student": "tiny",
        "clips": {"train": 10, "test": 20},
        "parameters": 1000,
        "methods": {
            "float": {**row, "sqnr_db": SQNR_LIMIT_DB, "seconds": 0.0},
            "w8a8": {**row, "seconds": 3.0},
        },
        "quantizers": [
            {"runtime": "LiteRT", "quantizer": "Pocketreel", **row, **file, "against_ours": alone},
            {"runtime": "LiteRT", "quantizer": "theirs", **row, **file, "against_ours": slower},
            {"runtime": "torch", "quantizer": "plain", **row},
            {"runtime": "onnx", "quantizer": "absent", "reason": "not installed: pip install absent"},
        ],
    }
    lines = list(_tables(figures))
    assert "| float | 90.0 % | 95.0 % | equal | 0.0100 | 0 s |" in lines
    assert "| w8a8 | 90.0 % | 95.0 % | 30.0 dB | 0.0100 | 3 s |" in lines
    shares = "90.0 % | 95.0 % | 30.0 dB | 0.0100"
    assert f"| LiteRT | Pocketreel | {shares} | 4.00 kB | 1.23 ms | 1 |" in lines
    assert f"| LiteRT | theirs | {shares} | 4.00 kB | 1.23 ms | 1.20 [1.10, 1.30] |" in lines
    assert f"| torch | plain | {shares} | no file | | |" in lines
    assert "| onnx | absent | not installed: pip install absent | | | | | | |" in lines
    assert "One clip is 5.0 points" in lines[0]


def test_a_quantizer_that_is_absent_or_fails_has_a_reason(tmp_path):
    def fails(floats, calls, out):
        raise KeyError("no such operator\nand more")

    absent = FileQuantizer("onnx", "no_such_package.part", "pip install it", fails)
    assert made_or_reason(absent, tmp_path, [], tmp_path) == (None, "not installed: pip install it")
    failing = FileQuantizer("onnx", "json", "", fails)
    assert made_or_reason(failing, tmp_path, [], tmp_path) == (
        None,
        "KeyError: 'no such operator\\nand more'",
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NNCF", "ONNX Runtime static", "AI Edge Quantizer"])
def test_other_quantizers_write_files_near_float(tmp_path, name):
    quantizer = FILE_QUANTIZERS[name]
    pytest.importorskip(quantizer.module, reason=quantizer.install)
    network, batches = small()
    export_network(network, {"clip": batches[0][0]}, formats=(quantizer.format,), out=tmp_path)
    (floats,) = read_export(tmp_path).files
    (tensor,) = floats.inputs
    arrays = [batch[0].numpy() for batch in batches]
    path = tmp_path / f"quantized{floats.path.suffix}"
    quantizer.make(floats.path, [{tensor.name: tensor.arrange(array)} for array in arrays], path)
    quantized = replace(floats, path=path)
    for array in arrays:
        wanted, given = (logits_of(file, array) for file in (floats, quantized))
        assert 0 < np.abs(given - wanted).max() < 0.1 * np.abs(wanted).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain PT2E", "coreai-opt"])
def test_other_quantizers_of_networks_stay_near_float(name):
    quantizer = NETWORK_QUANTIZERS[name]
    pytest.importorskip(quantizer.module, reason=quantizer.install)
    network, batches = small()
    lowered = lower(capture(network, batches[0]))
    quantized = quantizer.make(copy.deepcopy(lowered), batches)
    for batch in batches:
        wanted, given = lowered(*batch), quantized(*batch)
        assert 0 < (given - wanted).abs().max() < 0.1 * wanted.abs().max()
