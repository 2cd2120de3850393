"""Folders that one process at a time may use."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from compress.folders.ledger import HOLDER, LOCK, FolderRefused
from compress.folders.locks import held, holder
from compress.folders.writing import write_sealed_json

SCRIPT = (
    "import sys, pathlib; from compress.folders.locks import held\n"
    "with held(pathlib.Path(sys.argv[1])):\n"
    "    print('inside', flush=True); sys.stdin.read()"
)


@pytest.fixture
def other(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "a")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "inside\n"
        yield process
        process.kill()


def test_the_second_is_refused_and_told_who_is_there(tmp_path, other):
    in_use = rf"a is in use by process {other.pid} on .*, since 20.*: wait"
    with pytest.raises(FolderRefused, match=in_use), held(tmp_path / "a"):
        pass
    other.stdin.close()
    other.wait()
    with held(tmp_path / "a"):
        pass


def test_what_a_dead_process_held_is_free(tmp_path, other):
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / "a" / HOLDER).exists()
    with held(tmp_path / "a"):
        pass


def test_a_lock_that_names_a_process_of_another_time_is_free(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / LOCK).touch()
    write_sealed_json(tmp_path / "a" / HOLDER, {"pid": os.getpid(), "host": "x", "since": "", "started": 1.0})
    with held(tmp_path / "a"):
        found = json.loads((tmp_path / "a" / HOLDER).read_text())
        assert found["pid"] == os.getpid() and found["started"] > 1
    assert not (tmp_path / "a" / HOLDER).exists()


def test_who_holds_a_lock_need_not_be_readable(tmp_path):
    (tmp_path / "holder").write_text("{")
    assert holder(tmp_path / "holder") == holder(tmp_path / "none") == "another process"
