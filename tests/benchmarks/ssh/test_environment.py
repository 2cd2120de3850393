"""A board whose Python has neither NumPy nor a runtime gets an environment, from wheels where it has no network."""

import subprocess
import sys
import zipfile
from importlib.metadata import distribution

import numpy as np
import pytest

from benchmarks.device import Unavailable
from benchmarks.exported import read_export
from tests.benchmarks.small_exports import VIDEO_ONLY, example, expected_logits, onnx_export
from tests.benchmarks.ssh.server import MISSING, SSHD, Server

pytestmark = [pytest.mark.skipif(SSHD is None, reason=MISSING), pytest.mark.slow]

NO_INDEX = "SetEnv PIP_INDEX_URL=http://127.0.0.1:9/simple PIP_CONFIG_FILE=/dev/null"
NEEDED = ("numpy", "onnxruntime", "flatbuffers", "packaging", "protobuf")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("server"), NO_INDEX)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """A Python without any package."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    return str(home / "bin/python")


def test_without_network_and_wheels_the_remedy_is_named(server, bare_python, tmp_path):
    (file,) = read_export(onnx_export(tmp_path)).files
    with (
        server.settings(python=bare_python).connect("board") as board,
        board.open(file) as session,
        pytest.raises(
            Unavailable, match=r"(?s)pip cannot install numpy==.* onnxruntime==.*pip download -d wheels"
        ),
    ):
        session.load(threads=1)


def test_wheels_make_the_environment_once(server, bare_python, tmp_path):
    (file,) = read_export(onnx_export(tmp_path / "export")).files
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in NEEDED:
        pack_wheel(name, wheels)
    settings = server.settings(python=bare_python, wheels=wheels)
    clips = example(VIDEO_ONLY, clips=2)
    for _ in range(2):
        with settings.connect("board") as board, board.open(file) as session:
            assert session.load(threads=1) == f"ONNX Runtime {distribution('onnxruntime').version}"
            session.begin_infer(clips)
            (logits,) = session.end_infer()
        np.testing.assert_allclose(logits, expected_logits(VIDEO_ONLY, clips)["logits"], rtol=1e-5, atol=1e-4)
        for wheel in wheels.iterdir():  # the second time the environment is there
            wheel.unlink()


def test_a_folder_without_wheels_is_named(server, bare_python, tmp_path):
    (file,) = read_export(onnx_export(tmp_path)).files
    settings = server.settings(python=bare_python, folder=tmp_path / "board", wheels=tmp_path)
    with (
        settings.connect("board") as board,
        board.open(file) as session,
        pytest.raises(Unavailable, match=r"`wheels`: .* has no wheels \(\*\.whl\)"),
    ):
        session.load(threads=1)


def pack_wheel(name, folder):
    """Writes the wheel of an installed distribution again."""
    installed = distribution(name)
    tags = [
        line.removeprefix("Tag: ") for line in installed.read_text("WHEEL").splitlines() if "Tag: " in line
    ]
    stem = f"{name.replace('-', '_')}-{installed.version}"
    with zipfile.ZipFile(folder / f"{stem}-{tags[-1]}.whl", "w") as archive:
        for file in installed.files:
            if not str(file).startswith("..") and "__pycache__" not in file.parts and file.name != "RECORD":
                archive.write(file.locate(), str(file))
        record = next(file for file in installed.files if file.name == "RECORD")
        rows = [f"{member},," for member in archive.namelist()]
        archive.writestr(str(record), "\n".join([*rows, f"{record},,"]) + "\n")
