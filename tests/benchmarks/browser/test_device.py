"""The browser as a device, as far as no browser is needed: settings, invitation, and what is missing."""

import threading
import time

import pytest

from benchmarks.browser import invitation as module
from benchmarks.browser.assets import PACKAGES
from benchmarks.browser.facts import LABEL, Facts
from benchmarks.browser.invitation import invitation, qr_code
from benchmarks.browser.settings import BrowserSettings
from benchmarks.device import Unavailable
from benchmarks.devices import parse_device
from benchmarks.exported import read_export
from benchmarks.measure import Effort, measure, measure_on
from tests.benchmarks.browser.visitor import FACTS, Visitor, reply
from tests.benchmarks.small_exports import onnx_export


@pytest.fixture
def assets(tmp_path):
    """A folder with empty files in place of the runtimes."""
    folder = tmp_path / "assets"
    for package in PACKAGES:
        (folder / package.folder).mkdir(parents=True)
        for name in package.files:
            (folder / package.folder / name.rpartition("/")[2]).touch()
    versions = ", ".join(f'"{package.name}": "{package.version}"' for package in PACKAGES)
    (folder / "assets.json").write_text("{" + versions + "}")
    return folder


def test_the_short_form_gives_the_accelerator():
    assert parse_device("browser") == BrowserSettings()
    assert parse_device("browser:webgpu") == BrowserSettings(accelerator="webgpu")
    with pytest.raises(ValueError, match="accelerator: Input should be 'wasm', 'webgpu' or 'webnn'"):
        parse_device("browser:cuda")


def test_figures_of_an_unknown_browser_are_not_reused():
    settings = BrowserSettings()
    assert settings.identity() != settings.identity()
    assert "onnxruntime-web 1.30.0" in settings.identity()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"open": False, "wait_s": 0.2}, r"nobody opened the page within 0\.2 s"),
        ({"program": "no-such-browser"}, "the program 'no-such-browser' is not installed"),
        ({"program": "false", "wait_s": 60}, "the browser 'false' exited with code 1"),
        (
            {"address": "192.0.2.1", "lan": True},
            r"cannot be served on 192\.0\.2\.1, port 0: .*; set `port` or",
        ),
    ],
)
def test_a_browser_that_does_not_come_costs_its_rows_with_the_reason(assets, tmp_path, settings, reason):
    exported = read_export(onnx_export(tmp_path / "export"))
    devices = {"browser": BrowserSettings(assets=str(assets), **settings)}
    (measurement,) = measure(exported, devices=devices, effort=Effort(rounds=1))
    (latency,) = measurement.latency
    assert measurement.device is None and not latency.failed
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(latency.unavailable)


def test_missing_runtimes_are_the_reason(tmp_path):
    device = BrowserSettings(assets=str(tmp_path)).connect("browser")
    with pytest.raises(Unavailable, match="run `pocketreel browser-assets`"), device:
        pass


def test_a_page_on_this_machine_alone_can_be_reached_over_usb():
    text = invitation("http://localhost:8000/t/", lan=False, opens=True, fingerprint=None)
    assert text.startswith("opening http://localhost:8000/t/\n")
    assert "`adb reverse tcp:8000 tcp:8000`" in text


def test_a_page_in_the_network_says_what_it_exposes_and_what_it_lacks(monkeypatch):
    monkeypatch.setattr(module, "qr_code", lambda text: None)
    plain = invitation("http://192.0.2.5:8000/t/", lan=True, opens=False, fingerprint=None)
    assert "whoever is in this network and has this address can download the measured files" in plain
    assert "1 thread and no WebGPU: set `https: true`" in plain and "adb reverse tcp:8000 tcp:8000" in plain
    assert plain.endswith(
        "for a QR code of the address: pip install '.[browser]' in a checkout of Pocketreel"
    )
    encrypted = invitation("https://192.0.2.5:8000/t/", lan=True, opens=False, fingerprint="AB:CD")
    assert "self-signed; its SHA-256 is AB:CD" in encrypted and "1 thread" not in encrypted


def test_the_qr_code_is_one_of_the_address():
    segno = pytest.importorskip("segno", reason="the package segno draws QR codes")
    text = "http://192.0.2.5:8000/tOkEn/"
    drawn = qr_code(text)
    modules = segno.make_qr(text, error="l").symbol_size(border=4)[0]
    lines = [line for line in drawn.splitlines() if line]
    assert len(lines) == (modules + 1) // 2, "two rows of modules in a line"


@pytest.mark.parametrize(
    ("change", "notes"),
    [
        ({}, [LABEL]),
        ({"secure": False, "isolated": False}, [LABEL, "1 thread, no WebGPU: the page is no secure context"]),
        (
            {"isolated": False, "backends": ["wasm", "webgpu"]},
            [LABEL, "1 thread: the page is not cross-origin isolated"],
        ),
        (
            {"clock_ms": 0.1},
            [
                LABEL,
                "the browser's clock has steps of 0.1 ms: inferences shorter than twenty steps are timed in "
                "blocks, and percentiles are over the means of blocks",
            ],
        ),
    ],
)
def test_notes_label_every_figure(change, notes):
    description = Facts.model_validate(FACTS | change).description("phone")
    assert list(description.notes) == notes
    assert (description.name, description.cores, description.memory_bytes) == ("phone", 4, 8 * 2**30)


def test_a_browser_that_tells_little_is_described():
    facts = Facts.model_validate(FACTS | {"memory_gib": None, "isolated": False, "backends": ["wasm"]})
    description = facts.description("phone")
    assert description.memory_bytes is None and description.cpu == "processor not told by the browser"
    assert description.system == "Visitor/1; not cross-origin isolated; backends: wasm"


def test_a_page_that_is_closed_costs_its_rows_with_the_reason(assets, tmp_path):
    exported = read_export(onnx_export(tmp_path / "export"))
    device = BrowserSettings(open=False, assets=str(assets)).connect("browser")

    def visit():
        while device._server is None:
            time.sleep(0.01)
        visitor = Visitor(device._server)
        assert visitor.hello() == 200
        names = [visitor.command()[0]["name"]]
        names.append(visitor.command(reply("ok", "small runtime 1"))[0]["name"])
        names.append(visitor.command(reply())[0]["name"])
        assert visitor.tell("leave") == 204
        seen.extend(names)

    seen: list[str] = []
    visiting = threading.Thread(target=visit)
    visiting.start()
    with device:
        measurement = measure_on(device, exported, effort=Effort(rounds=1))
    visiting.join()
    assert seen == ["load", "hold", "time_runs"]
    (latency,) = measurement.latency
    assert measurement.device.system.startswith("Visitor/1") and not latency.failed
    assert latency.unavailable == (
        "the page was closed or reloaded; keep it open until it says that it is finished (in 'time_runs')"
    )
