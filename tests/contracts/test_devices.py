"""Contract of every kind of device that needs no further equipment: it describes itself, and its sessions run files
correctly."""

import json
import os
import re
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks.device import SessionFailed
from benchmarks.devices import parse_device
from benchmarks.exported import read_export
from benchmarks.measure import Effort, measure
from tests.benchmarks.small_exports import onnx_export

ATTACHED = ["host"]
"""Devices that every machine has."""


@pytest.mark.parametrize("name", ATTACHED)
def test_a_device_says_what_it_is(name):
    with parse_device(name).connect(name) as device:
        description = device.describe()
    assert description.name == name
    assert description.cpu
    assert 1 <= description.cores <= os.cpu_count()
    assert description.memory_bytes > 2**28
    json.dumps(asdict(description))


@pytest.mark.parametrize("name", ATTACHED)
def test_a_measurement_is_complete(name, tmp_path):
    devices = {name: parse_device(name)}
    (measurement,) = measure(read_export(onnx_export(tmp_path)), devices=devices, effort=Effort(rounds=2))
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


@pytest.mark.parametrize("name", ATTACHED)
def test_a_session_loads_holds_runs_and_times_a_file(name, tmp_path):
    exported = read_export(onnx_export(tmp_path))
    (file,) = exported.files
    clip = exported.clip_spec().example(seed=3)[0].numpy()
    with parse_device(name).connect(name) as device, device.open(file) as session:
        assert session.load(threads=1)
        session.begin_infer({"clip": np.concatenate([clip, clip])})
        (logits,) = session.end_infer()
        assert logits.shape == (2, *file.outputs[0].shape[1:]) and logits.dtype == np.float32
        assert (logits[0] == logits[1]).all()
        session.hold({"clip": clip})
        elapsed_ns = session.time_runs(5)
        assert elapsed_ns.shape == (5,) and (elapsed_ns > 0).all()
        memory = session.memory()
        assert 0 <= memory.model_rss_bytes < memory.peak_rss_bytes


@pytest.mark.parametrize("name", ATTACHED)
def test_a_session_says_which_file_the_runtime_refuses(name, tmp_path):
    (file,) = read_export(onnx_export(tmp_path)).files
    file.path.write_bytes(b"no network")
    with (
        parse_device(name).connect(name) as device,
        device.open(file) as session,
        pytest.raises(SessionFailed, match=re.escape(file.title)),
    ):
        session.load(threads=1)


@pytest.mark.parametrize("name", ATTACHED)
def test_more_threads_than_the_device_has_cost_its_rows(name, tmp_path):
    with parse_device(name).connect(name) as device:
        cores = device.describe().cores
    devices = {name: parse_device(name)}
    (measurement,) = measure(
        read_export(onnx_export(tmp_path)), devices=devices, effort=Effort(threads=cores + 1, rounds=1)
    )
    (latency,) = measurement.latency
    assert measurement.device is None and not latency.failed
    assert latency.unavailable == f"threads is {cores + 1}: device {name!r} has {cores} cores"
