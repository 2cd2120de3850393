"""A real board over ssh decides between the forms of a file, and measures pruned networks."""

from __future__ import annotations

import pytest
from torch import nn

from benchmarks.device import Unavailable
from compress.pruning.latency import Latency
from compress.pruning.target import Setting
from compress.stopwatch import DeviceStopwatch
from export.capture.graph import capture
from export.choice import Forms
from export.files import Variant, export_files
from export.manifest import file_spec
from export.targets import FORMS
from tests.benchmarks.ssh.server import MISSING, SSHD, Server
from tests.specs import small_spec

pytestmark = [pytest.mark.slow, pytest.mark.skipif(SSHD is None, reason=MISSING)]

SPEC = small_spec("clip")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


def network() -> nn.Module:
    layers = nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3)
    return nn.Sequential(*layers).eval()


def exported(out, device):
    variant = Variant(scheme="fp32", program=capture(network(), SPEC.example()))
    forms = Forms(stopwatch=DeviceStopwatch(device))
    (outcome,) = export_files(
        [variant], file_spec(SPEC, provenance={}), formats=["onnx"], out=out, forms=forms
    )
    return outcome


def test_forms_are_measured_on_the_board(server, tmp_path):
    with server.settings().connect("board") as board:
        outcome = exported(tmp_path, board)
    assert outcome.reason is None
    times = {one.form: one.latency_ms for one in outcome.form.compared}
    assert tuple(times) == FORMS and min(times.values()) > 0
    assert outcome.form.name == min(times, key=times.__getitem__)
    assert outcome.form.source.startswith("board (")


def test_a_board_that_is_lost_ends_the_export(tmp_path):
    server = Server(tmp_path / "server")
    with server.settings().connect("board") as board:
        watch = DeviceStopwatch(board)
        server.stop()
        variant = Variant(scheme="fp32", program=capture(network(), SPEC.example()))
        with pytest.raises(Unavailable, match="board"):
            export_files(
                [variant],
                file_spec(SPEC, provenance={}),
                formats=["onnx"],
                out=tmp_path / "out",
                forms=Forms(stopwatch=watch),
            )
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_pruning_measures_on_the_board_and_its_table_is_that_of_the_board(server):
    model = network()
    found = {}
    for name, python in (("big", {}), ("little", {"connect_timeout_s": 20})):
        setting = Setting(spec=SPEC, device=(name, server.settings(**python)))
        latency = Latency(model, setting)
        assert latency.original > 0
        assert (
            latency.notes[0].startswith("latency of fp32 files in ONNX Runtime 1.")
            and name in latency.notes[0]
        )
        found[name] = latency._parts(model, {})["device"]
    assert found["big"] != found["little"]
