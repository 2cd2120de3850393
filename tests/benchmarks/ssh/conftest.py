"""One server per file of tests."""

import pytest

from tests.benchmarks.ssh.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()
