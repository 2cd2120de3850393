"""What every device must give: what it is, and a complete measurement."""

import json
import os
from dataclasses import asdict

import pytest

from benchmarks import DEVICES
from tests.benchmarks.small_exports import onnx_export


@pytest.mark.parametrize("name", DEVICES)
def test_a_device_says_what_it_is(name):
    description = DEVICES[name].describe()
    assert description.name == name
    assert description.cpu
    assert 1 <= description.cores <= os.cpu_count()
    assert description.memory_bytes > 2**28
    json.dumps(asdict(description))


@pytest.mark.parametrize("name", DEVICES)
def test_a_measurement_is_complete(name, tmp_path):
    measurement = DEVICES[name].measure(onnx_export(tmp_path), rounds=6)
    (latency,) = measurement.latency
    assert measurement.device.name == latency.device == name
    assert latency.unavailable is None
    assert None not in (
        latency.p50_ms,
        latency.p90_ms,
        latency.p99_ms,
        latency.peak_rss_bytes,
        latency.runtime,
    )
    assert measurement.accuracy == []
