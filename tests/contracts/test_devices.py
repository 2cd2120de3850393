"""Contract of every row of `DEVICES`: it describes itself, and its sessions run files correctly."""

import json
import os
import re
from dataclasses import asdict

import numpy as np
import pytest

from benchmarks import DEVICES
from benchmarks.device import SessionFailed
from benchmarks.exported import read_export
from benchmarks.measure import measure
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
    measurement = measure(read_export(onnx_export(tmp_path)), device=name, rounds=6)
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


@pytest.mark.parametrize("name", DEVICES)
def test_a_session_loads_holds_runs_and_times_a_file(name, tmp_path):
    exported = read_export(onnx_export(tmp_path))
    (file,) = exported.files
    clip = exported.clip_spec().example(seed=3)[0].numpy()
    with DEVICES[name].open(file) as session:
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


@pytest.mark.parametrize("name", DEVICES)
def test_a_session_says_which_file_the_runtime_refuses(name, tmp_path):
    (file,) = read_export(onnx_export(tmp_path)).files
    file.path.write_bytes(b"no network")
    with DEVICES[name].open(file) as session, pytest.raises(SessionFailed, match=re.escape(file.title)):
        session.load(threads=1)


@pytest.mark.parametrize("name", DEVICES)
def test_more_threads_than_the_device_has_are_refused(name, tmp_path):
    cores = DEVICES[name].describe().cores
    with pytest.raises(ValueError, match=rf"device '{name}' has {cores} cores"):
        measure(read_export(onnx_export(tmp_path)), device=name, threads=cores + 1, rounds=1)
