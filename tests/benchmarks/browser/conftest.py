"""A server of the page on loopback, without a browser."""

import pytest

from benchmarks.browser.exchange import Exchange
from benchmarks.browser.server import Server


@pytest.fixture
def exchange():
    return Exchange(silence_s=60)


@pytest.fixture
def server(exchange, tmp_path):
    asset = tmp_path / "run.wasm"
    asset.write_bytes(b"\0asm")
    (tmp_path / "secret.txt").write_text("not for anybody")
    running = Server(
        ("127.0.0.1", 0),
        exchange=exchange,
        token="t0ken",
        assets={"small/run.wasm": asset},
        hosts=("127.0.0.1", "localhost"),
    )
    running.start()
    yield running
    running.stop()
