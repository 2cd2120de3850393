"""Latency: interleaving, percentiles, intervals, and files that cannot run."""

import numpy as np
import pytest

from benchmarks.exported import read_export
from benchmarks.latency import measure_latency, ratio
from benchmarks.machine import usable_cores
from tests.benchmarks.small_exports import (
    VIDEO_ONLY,
    file_row,
    onnx_export,
    onnx_with_broken_neighbours,
    write_manifest,
    write_onnx,
)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """An export that holds the same file three times, under three names."""
    root = tmp_path_factory.mktemp("twins")
    rows = []
    for scheme in ("fp32", "fp16", "w8"):
        path = f"onnx/{scheme}/model.onnx"
        inputs = write_onnx(root / path, VIDEO_ONLY)
        row = file_row(root, format="onnx", path=path, inputs=inputs, spec=VIDEO_ONLY)
        rows.append({**row, "scheme": scheme})
    write_manifest(root, spec=VIDEO_ONLY, files=rows)
    return root


def test_figures_are_complete_and_ordered(tmp_path):
    told = []
    (latency,) = measure_latency(
        read_export(onnx_export(tmp_path)),
        rounds=6,
        progress=lambda what, done, total: told.append((what, done, total)),
    )
    assert (latency.format, latency.device, latency.threads) == ("onnx", "host", 1)
    assert latency.runtime.startswith("ONNX Runtime 1.")
    assert 0 < latency.p50_ms <= latency.p90_ms <= latency.p99_ms
    low_ms, high_ms = latency.p50_ci95_ms
    assert low_ms <= latency.p50_ms <= high_ms
    assert latency.rounds == len(latency.round_p50_ms) == latency.starts == 6
    assert latency.inferences % latency.rounds == 0
    assert latency.peak_rss_bytes > latency.model_rss_bytes > 0
    assert latency.load_ms > 0 and latency.first_ms > 0
    assert latency.conditions.reference == "onnx.fp32"
    assert latency.conditions.others_cores >= 0
    assert (latency.unavailable, latency.failed) == (None, False)
    assert told == [("load", 1, 1)] + [("latency", done, 6) for done in range(1, 7)]


def test_files_take_turns_in_an_order_that_the_seed_draws(twins):
    def drawn(seed):
        found = measure_latency(read_export(twins), rounds=8, starts=2, seed=seed)
        return np.array([latency.positions for latency in found])

    orders = [drawn(seed) for seed in (0, 0, 1)]
    assert (np.sort(orders[0], axis=0) == np.arange(3)[:, None]).all()
    assert len({tuple(order) for order in orders[0].T}) > 2
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).any()


def test_twins_are_as_fast_as_each_other(twins):
    first, second, _ = measure_latency(read_export(twins), rounds=6)
    compared = ratio(second, first)
    assert 0.5 < compared.value < 2
    assert compared.ci95[0] <= compared.value <= compared.ci95[1]


def test_a_file_that_cannot_run_does_not_stop_the_others(tmp_path):
    found = {
        one.format: one
        for one in measure_latency(read_export(onnx_with_broken_neighbours(tmp_path)), rounds=6, starts=1)
    }
    assert found["onnx"].rounds == 6
    assert found["tflite"].failed
    assert "tflite/fp32/model.tflite: LiteRT failed in 'load'" in found["tflite"].unavailable
    assert found["executorch"].unavailable == "not exported: operator aten.fft has no kernel"
    assert not found["executorch"].failed
    assert found["tflite"].p50_ms is None
    assert ratio(found["tflite"], found["onnx"]) is None


def test_rounds_end_when_time_is_up(tmp_path):
    (latency,) = measure_latency(read_export(onnx_export(tmp_path)), rounds=500, starts=1, max_seconds=0.0)
    assert latency.rounds == 1
    assert latency.p50_ci95_ms is None
    assert latency.notes == ("stopped after 1 of 500 rounds: the limit of 0 s was exceeded",)


@pytest.mark.parametrize(
    ("threads", "rounds", "starts", "message"),
    [
        (0, 6, 6, f"threads is 0: device 'host' has {usable_cores()} cores"),
        (4096, 6, 6, "threads is 4096: device 'host' has"),
        (1, 0, 6, "rounds is 0: at least 1 is needed, and 6 for an interval"),
        (1, 6, 0, "starts is 0: at least 1 is needed, and 6 for an interval"),
    ],
)
def test_settings_that_cannot_be(tmp_path, threads, rounds, starts, message):
    with pytest.raises(ValueError, match=message):
        measure_latency(read_export(onnx_export(tmp_path)), threads=threads, rounds=rounds, starts=starts)
