"""Files in a real browser: headless Chromium with the installed runtimes."""

import os
import re
import shutil
import signal

import numpy as np
import pytest

from benchmarks.browser.assets import find_assets
from benchmarks.browser.exchange import Exchange
from benchmarks.browser.program import Program
from benchmarks.browser.server import Server
from benchmarks.browser.settings import BrowserSettings
from benchmarks.device import SessionFailed, Unavailable
from benchmarks.exported import read_export
from benchmarks.host import HOST
from tests.benchmarks.small_exports import (
    ALL_INPUTS,
    example,
    expected_logits,
    file_row,
    onnx_export,
    write_endless_onnx,
    write_manifest,
    write_onnx,
    write_tflite,
)

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
HEADLESS = ("--headless=new", "--no-sandbox", "--disable-gpu")


@pytest.fixture(scope="module", autouse=True)
def runtimes():
    if CHROMIUM is None:
        pytest.skip("there is no program chromium or google-chrome")
    try:
        return find_assets()
    except Unavailable as error:
        pytest.skip(str(error))


def settings(profile, *arguments, **others):
    profile = f"--user-data-dir={profile}"
    return BrowserSettings(program=CHROMIUM, arguments=(*HEADLESS, profile, *arguments), **others)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An ONNX and a LiteRT file with video, audio and text, and two outputs."""
    folder = tmp_path_factory.mktemp("export")
    rows = []
    for format, path, write in (
        ("onnx", "onnx/fp32/model.onnx", write_onnx),
        ("tflite", "tflite/fp32/model.tflite", write_tflite),
    ):
        inputs = write(folder / path, ALL_INPUTS)
        rows.append(file_row(folder, format=format, path=path, inputs=inputs, spec=ALL_INPUTS))
    write_manifest(folder, spec=ALL_INPUTS, files=rows)
    return read_export(folder)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with settings(tmp_path_factory.mktemp("profile")).connect("browser") as device:
        yield device


@pytest.mark.parametrize("index", [0, 1], ids=["onnx", "tflite"])
@pytest.mark.parametrize("threads", [1, 2])
def test_logits_are_those_of_the_host_and_times_are_positive(browser, exported, index, threads):
    if threads > browser.describe().cores:
        pytest.skip(f"the browser has {browser.describe().cores} core")
    file = exported.files[index]
    inputs = example(ALL_INPUTS, clips=3)
    with browser.open(file) as session, HOST.open(file) as reference:
        runtime = session.load(threads=threads)
        assert re.search(rf"\(wasm, {threads} threads?\)$", runtime)
        reference.load(threads=1)
        for one in (session, reference):
            one.begin_infer(inputs)
        found, ours = session.end_infer(), reference.end_infer()
        wanted = expected_logits(ALL_INPUTS, inputs)
        for logits, same, tensor in zip(found, ours, file.outputs, strict=True):
            assert np.allclose(logits, wanted[tensor.name], atol=1e-4)
            assert np.allclose(logits, same, atol=1e-4)
        session.hold({name: array[:1] for name, array in inputs.items()})
        elapsed_ns = session.time_runs(7)
        assert elapsed_ns.shape == (7,) and (elapsed_ns > 0).all()


def test_the_page_is_isolated_on_loopback(browser):
    description = browser.describe()
    assert "; cross-origin isolated; backends: wasm" in description.system
    assert description.notes == ("milliseconds in a browser, not those of an app on the same phone",)


def test_a_refused_file_and_an_endless_one_cost_their_own_rows(browser, exported, tmp_path):
    good = exported.files[0]
    with browser.open(good) as session:
        session.load(threads=1)
        (refused,) = read_export(onnx_export(tmp_path / "a")).files
        refused.path.write_bytes(b"no network")
        with (
            browser.open(refused) as other,
            pytest.raises(
                SessionFailed, match=r"model\.onnx: onnxruntime-web in the browser failed in 'load': "
            ),
        ):
            other.load(threads=1)
        (endless,) = read_export(onnx_export(tmp_path / "b")).files
        write_endless_onnx(endless.path)
        clip = np.zeros((1, 3, 4, 6, 6), "float32")
        with browser.open(endless) as other:
            other.load(threads=1)
            with pytest.raises(SessionFailed, match=r"failed in 'hold': no answer within 1 s"):
                other.hold({"clip": clip}, limit_s=1)
            with pytest.raises(SessionFailed, match=r"failed in 'time_runs': its worker has ended"):
                other.time_runs(1)
        session.hold(example(ALL_INPUTS, clips=1))
        assert (session.time_runs(3) > 0).all()


def test_a_browser_that_is_killed_costs_its_files(exported, tmp_path):
    with settings(tmp_path).connect("browser") as device, device.open(exported.files[0]) as session:
        session.load(threads=1)
        os.killpg(device._program._process.pid, signal.SIGKILL)
        with pytest.raises(Unavailable, match=r"the browser '.*' was killed by SIGKILL"):
            for _ in range(100):
                session.hold(example(ALL_INPUTS, clips=1))


def test_https_gives_a_secure_page(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("there is no program openssl")
    device = settings(tmp_path, "--ignore-certificate-errors", https=True).connect("browser")
    with device:
        assert device.url.startswith("https://localhost:")
        assert "; cross-origin isolated;" in device.describe().system


def test_a_page_in_a_network_over_plain_http_has_one_thread(runtimes, tmp_path):
    exchange = Exchange(silence_s=60)
    server = Server(
        ("127.0.0.1", 0), exchange=exchange, token="t0ken", assets=runtimes, hosts=("phone.example",)
    )
    server.start()
    mapped = "--host-resolver-rules=MAP phone.example 127.0.0.1"
    url = f"http://phone.example:{server.port}/t0ken/"
    try:
        with Program(CHROMIUM, [*HEADLESS, f"--user-data-dir={tmp_path}", mapped, url]):
            facts = exchange.wait_for_page(60).facts
            assert not facts.secure and not facts.isolated
            assert "1 thread, no WebGPU: the page is no secure context" in facts.notes
    finally:
        server.stop()
