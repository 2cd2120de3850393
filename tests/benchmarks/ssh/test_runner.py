"""The file that is copied to a board needs the standard library alone, and NumPy in the process of a file."""

import ast
import hashlib
import io
import subprocess
import sys
import zipfile

import pytest

from benchmarks.ssh import runner
from benchmarks.ssh.board.frames import GREETING, Message, read, write


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / runner.pack().name
    path.write_bytes(runner.pack().content)
    return path


def test_the_hub_runs_without_any_package(packed, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", packed, "hub", tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == GREETING
    arguments = {"name": "board", "cpus": None}
    write(process.stdin, Message(channel=0, header={"command": "describe", "arguments": arguments}))
    answer = read(process.stdout)
    process.stdin.close()
    assert process.wait(60) == 0
    assert answer.header["outcome"] == "ok" and answer.header["value"]["name"] == "board"


def test_its_modules_import_numpy_alone():
    """At the top of a module; runtimes are imported by the functions that need them."""
    with zipfile.ZipFile(io.BytesIO(runner.pack().content)) as archive:
        sources = {name: archive.read(name) for name in archive.namelist()}
    found = set()
    for name, source in sources.items():
        for node in ast.parse(source, filename=name).body:
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    assert found - set(sys.stdlib_module_names) == {"numpy", "benchmarks", "compress"}


def test_equal_sources_give_an_equal_file_named_by_its_hash():
    first = runner.pack()
    runner.pack.cache_clear()
    assert runner.pack() == first
    assert first.name == f"runner-{hashlib.sha256(first.content).hexdigest()[:16]}.pyz"


def test_an_old_python_is_refused_with_its_version(packed):
    start = (
        "import sys, runpy; sys.version_info = (3, 9, 2); runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", start, packed, "hub", "."], capture_output=True, text=True)
    assert done.returncode == 1
    assert "on the board is Python 3.9; 3.11 or newer is needed: give another one as `python`" in done.stderr
