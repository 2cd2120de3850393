"""Tasks in separate processes, as the exporter starts them."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from export.process import child
from export.process import converter as worker
from export.process.child import run_in_child

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a task of this file; each test has its own helpers, started by Python."""
    monkeypatch.setattr(child, "_idle", {})
    monkeypatch.setattr(child, "subprocess", subprocess)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))

    def run(function, argument=None, **options):
        options = {"who": "the task", "log": tmp_path / "log", "time_limit_s": 60, **options}
        return run_in_child(function, argument, **options)

    yield run
    for helper in child._idle.values():
        helper.stop()


def where(_):
    """Process of the task, and that of its helper."""
    return os.getpid(), os.getppid()


def surroundings(name):
    print("said by the task")
    return os.environ.get(name), str(Path.cwd()), "onnx" in sys.modules


def die(number):
    os.kill(os.getpid(), number)


def wait(seconds):
    signal.pause()


@pytest.mark.skipif(not worker.FORKS, reason="each task has a helper of its own here")
def test_one_helper_forks_a_process_for_each_task_and_outlives_them(run):
    first, helper = run(where).value
    crashed = run(die, signal.SIGSEGV)
    assert (crashed.value, crashed.reason) == (None, "the task crashed its process with SIGSEGV")
    late = run(wait, time_limit_s=0.2)
    assert late.reason == "the task had not ended after 0.2 s"
    again, same = run(where).value
    assert same == helper and len({first, again, helper, os.getpid()}) == 4


def test_a_task_finds_the_surroundings_of_its_program(run, tmp_path, monkeypatch):
    assert run(surroundings, "COLOUR").value == (None, str(Path.cwd()), False)
    monkeypatch.setenv("COLOUR", "blue")
    monkeypatch.chdir(tmp_path)
    assert run(surroundings, "COLOUR").value == ("blue", str(tmp_path), False)
    assert (tmp_path / "log").read_text().count("said by the task") == 2


def test_the_libraries_of_a_writer_are_there_already(run):
    assert run(surroundings, "", writer="export.emit.onnx.writer").value[-1]


def test_a_helper_that_has_ended_meanwhile_is_replaced(run):
    run(where)
    (helper,) = child._idle.values()
    helper._process.kill()
    helper._process.wait()
    assert run(where).reason is None


def test_tasks_at_the_same_time(run):
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda _: run(where).value, range(6)))
    assert len({process for process, _ in found}) == 6
    assert len(child._idle) == 1


def test_without_fork_a_helper_does_one_task_and_ends(run, tmp_path, monkeypatch):
    """As on a Mac: the helper runs the task itself."""
    script = "import sys; sys.platform = 'darwin'; from export.process.converter import main; main('', 0)"
    monkeypatch.setattr(child, "_command", lambda writer: [sys.executable, "-P", "-c", script])
    monkeypatch.setenv("COLOUR", "red")
    assert run(surroundings, "COLOUR").value == ("red", str(Path.cwd()), False)
    assert run(where).value[1] == os.getpid() and not child._idle
    assert run(die, signal.SIGSEGV).reason == "the task crashed its process with SIGSEGV"
    assert run(wait, time_limit_s=2).reason == "the task had not ended after 2 s"
    assert (tmp_path / "log").read_text().count("said by the task") == 1
