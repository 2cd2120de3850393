"""Roofs of a device, measured in ONNX Runtime with small sizes."""

from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.conditions import OtherLoad
from benchmarks.device import Unavailable
from benchmarks.host import HOST
from benchmarks.kept_roofs import roofs_of
from benchmarks.latency import FileLatency
from benchmarks.measure import Measurement
from benchmarks.roofs import Roofs, measure_roofs
from benchmarks.summary import print_summary, to_dict
from tests.benchmarks.scripted_device import ScriptedDevice, file

KNOWN = Roofs(float_macs_per_s=1e9, int8_macs_per_s=4e9, bytes_per_s=1e10)


def test_roofs_of_this_machine():
    found = measure_roofs(HOST, columns=64, elements=1024)
    assert found.absent is None
    assert min(found.float_macs_per_s, found.int8_macs_per_s, found.bytes_per_s) > 0


def test_roofs_are_work_over_time():
    found = measure_roofs(ScriptedDevice(lambda *_: 2.0), columns=64, elements=1000)
    assert found.float_macs_per_s == found.int8_macs_per_s == pytest.approx(256 * 64 * 64 / 0.002)
    assert found.bytes_per_s == pytest.approx(8000 / 0.002)


def test_a_device_that_cannot_run_them_gives_the_reason():
    class Without(ScriptedDevice):
        def open(self, opened):
            raise Unavailable("no ONNX Runtime on this device")

    found = measure_roofs(Without(lambda *_: 1.0), columns=8, elements=8)
    assert found == Roofs(
        float_macs_per_s=None,
        int8_macs_per_s=None,
        bytes_per_s=None,
        absent="no ONNX Runtime on this device",
    )
    dead = measure_roofs(ScriptedDevice(lambda *_: -1.0), columns=8, elements=8)
    assert dead.absent.endswith("roof_float.onnx: died")


QUIET = OtherLoad(cores=2, others_cores=0.1, steal_share=0.0)


def kept(folder, *, latency_ms=1.0, load=QUIET, threads=1, device=ScriptedDevice):
    """The roofs of a device whose inferences take this long."""
    return roofs_of(
        device(lambda *_: latency_ms, load=load), folder=folder, threads=threads, columns=8, elements=8
    )


def test_roofs_are_measured_once(tmp_path):
    first = kept(tmp_path)
    assert first.runtime == "scripted 1" and first.measured.endswith("+00:00") and first.notes == ()
    assert kept(tmp_path, latency_ms=2.0) == first
    assert kept(tmp_path, latency_ms=2.0, threads=2).float_macs_per_s == first.float_macs_per_s / 2


def test_another_machine_has_other_roofs(tmp_path):
    class Larger(ScriptedDevice):
        def describe(self):
            return replace(super().describe(), cores=4)

    class Warmer(ScriptedDevice):
        def describe(self):
            return replace(super().describe(), load_1min=2.0, temperature_c=80.0, notes=("warm",))

    first = kept(tmp_path)
    assert kept(tmp_path, latency_ms=2.0, device=Warmer) == first
    assert kept(tmp_path, latency_ms=2.0, device=Larger).float_macs_per_s == first.float_macs_per_s / 2


def test_roofs_of_a_busy_machine_are_not_kept(tmp_path):
    busy = kept(tmp_path, load=OtherLoad(cores=2, others_cores=1.5, steal_share=0.0))
    assert busy.notes == (
        "busy machine: other processes used 1.5 of 2 cores",
        "not kept for later measurements",
    )
    assert kept(tmp_path, latency_ms=2.0).float_macs_per_s == busy.float_macs_per_s / 2


def test_damaged_roofs_are_measured_again(tmp_path, capsys):
    kept(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_text("{}")
    assert kept(tmp_path, latency_ms=2.0).notes == ()
    assert "roofs: measured again, because" in capsys.readouterr().err


def test_roofs_that_cannot_be_kept_say_so(tmp_path):
    (tmp_path / "taken").write_text("a file")
    (note,) = kept(tmp_path / "taken").notes
    assert note.startswith("not kept for later measurements: ")


def test_a_device_without_the_runtime_gives_the_reason(tmp_path):
    class Without(ScriptedDevice):
        def open(self, opened):
            raise Unavailable("no ONNX Runtime on this device")

    assert kept(tmp_path, device=Without).absent == "no ONNX Runtime on this device"
    assert list(tmp_path.iterdir()) == []


def test_the_share_uses_the_roof_of_the_files_arithmetic():
    assert KNOWN.share(macs=10**6, scheme="fp32", latency_ms=2.0) == pytest.approx(0.5)
    assert KNOWN.share(macs=10**6, scheme="w8a8", latency_ms=2.0) == pytest.approx(0.125)
    assert KNOWN.share(macs=10**6, scheme="w8", latency_ms=2.0) == pytest.approx(0.5)


@pytest.mark.parametrize("missing", ["macs", "latency_ms"])
def test_an_unknown_share(missing):
    known = {"macs": 10**6, "latency_ms": 2.0} | {missing: None}
    assert KNOWN.share(scheme="fp32", **known) is None


@pytest.mark.parametrize(
    ("roofs", "line", "share"),
    [
        (KNOWN, "roofs: 1.0 GMAC/s in float, 4.0 GMAC/s in int8, 10.0 GB/s", 0.5),
        (
            replace(KNOWN, runtime="ONNX Runtime 1.31.1", measured="2026-11-30T20:00+00:00", notes=("busy",)),
            "roofs: 1.0 GMAC/s in float, 4.0 GMAC/s in int8, 10.0 GB/s; by ONNX Runtime 1.31.1; measured "
            "2026-11-30T20:00+00:00; busy",
            0.5,
        ),
        (
            replace(KNOWN, float_macs_per_s=None, int8_macs_per_s=None, bytes_per_s=None, absent="no onnx"),
            "roofs: no onnx",
            None,
        ),
    ],
)
def test_the_summary_has_the_roofs_and_shares(roofs, line, share):
    files = [replace(file("fp32"), macs=10**6)]
    latency = FileLatency(
        format="onnx",
        scheme="fp32",
        device="host",
        threads=1,
        p50_ms=2.0,
        round_p50_ms=(2.0,),
        round_starts=(0,),
    )
    measurement = Measurement(name="host", device=None, latency=[latency], accuracy=[], roofs=roofs)
    console = Console(record=True, width=160)
    print_summary(measurement, files, console=console, threads=1)
    text = console.export_text()
    assert line in text.splitlines()
    assert ("50% of the roof" in text) == (share is not None)
    assert to_dict([measurement], files)["devices"][0]["files"][0]["roof_share"] == share
