"""Which figures the benchmark step keeps for later runs."""

from dataclasses import asdict, replace

import pytest

from benchmarks.conditions import OtherLoad
from benchmarks.files import FileId
from benchmarks.latency import measure_files
from compress.steps.benchmark import Benchmark, FileFigures, _latency
from tests.benchmarks.scripted_device import ScriptedDevice, file


def measured(load, *, latency_ms=1.0, rounds=9):
    device = ScriptedDevice(lambda *_: latency_ms, load=load)
    (latency,) = measure_files([file("fp32")], {}, device=device, rounds=rounds)
    figures = FileFigures(
        accuracy={"top1": 0.5},
        parity={},
        elsewhere=[],
        latency=[_latency(latency, beside=None)],
        notes=list(latency.notes),
    )
    return Benchmark(files={FileId("onnx", "fp32"): figures}, devices={"scripted": asdict(device.describe())})


QUIET = OtherLoad(cores=2, others_cores=0.1, steal_share=0.0)
BUSY = replace(QUIET, others_cores=1.5)


def test_figures_of_a_quiet_machine_are_kept():
    found = measured(QUIET)
    assert (found.busy, found.complete) == ([], True)
    (row,) = found.files[FileId("onnx", "fp32")].latency
    assert (row["busy"], row["starts"], row["load_ms"], row["first_ms"]) == ([], 9, pytest.approx(18), 2.0)


def test_figures_of_a_busy_machine_are_not_kept_and_say_why():
    found = measured(BUSY)
    assert found.busy == ["scripted: other processes used 1.5 of 2 cores"]
    assert not found.complete
    figures = found.files[FileId("onnx", "fp32")]
    assert figures.notes == ["busy machine: other processes used 1.5 of 2 cores"]


def test_too_few_starts_are_no_evidence():
    found = measured(BUSY, rounds=2)
    assert (found.busy, found.complete) == ([], True)
    assert "busy" not in found.files[FileId("onnx", "fp32")].latency[0]


def test_figures_with_a_failure_or_a_missing_device_are_not_kept():
    assert not measured(QUIET, latency_ms=-1.0).complete
    assert not replace(measured(QUIET), devices={"scripted": None}).complete
