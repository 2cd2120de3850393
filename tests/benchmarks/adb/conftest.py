"""A private adb server for the tests, and emulated phones that are connected to it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess

import pytest

from tests.benchmarks.adb.emulated_phone import EmulatedPhone


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory):
    """Environment of a real adb client with a server on a port of its own and keys of its own."""
    if shutil.which("adb") is None:
        pytest.skip("there is no adb client: CONTRIBUTING.md tells how to get one")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "ANDROID_ADB_SERVER_PORT": str(port),
        "HOME": str(tmp_path_factory.mktemp("home")),
        "ADB_MDNS": "0",
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "5554",
    }
    whole = {key: value for key, value in os.environ.items() if key != "ADB_SERVER_SOCKET"} | environment
    subprocess.run(["adb", "start-server"], env=whole, check=True, capture_output=True)
    try:
        listed = subprocess.run(
            ["adb", "devices"], env=whole, check=True, capture_output=True, text=True
        ).stdout
        if listed.partition("attached")[2].strip():
            pytest.skip(f"a phone is connected to this machine, which the tests must not touch: {listed}")
        yield environment
    finally:
        subprocess.run(["adb", "kill-server"], env=whole, check=False, capture_output=True)


@pytest.fixture
def adb(adb_server, monkeypatch):
    """Calls the adb client; the environment of the test is that of the private server."""
    monkeypatch.delenv("ADB_SERVER_SOCKET", raising=False)
    for name, value in adb_server.items():
        monkeypatch.setenv(name, value)

    def call(*arguments):
        return subprocess.run(["adb", *arguments], capture_output=True, text=True, timeout=60)

    yield call
    call("disconnect")


@pytest.fixture
def phone(adb, tmp_path):
    """An emulated phone that is connected and authorised."""
    with EmulatedPhone(tmp_path / "phone") as emulated:
        assert "connected to" in adb("connect", emulated.serial).stdout
        yield emulated
