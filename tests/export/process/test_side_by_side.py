"""Tasks side by side: results, the number at a time, and what ends with a failure."""

import os
import signal
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from export.process import child, side_by_side
from export.process.child import Stopped, run_in_child
from export.process.side_by_side import workers_for


def run(tasks, workers):
    return side_by_side.side_by_side(tasks, workers=workers)


def test_results_are_in_the_order_of_the_tasks():
    """The first task ends only after the second has."""
    ended = threading.Event()

    def first():
        assert ended.wait(60)
        return "first"

    def second():
        ended.set()
        return "second"

    assert run([first, second], workers=2) == ["first", "second"]


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_run_at_a_time_than_there_are_workers(workers):
    at_work, most = set(), []

    def task(number):
        at_work.add(number)
        most.append(len(at_work))
        time.sleep(0.02)
        at_work.remove(number)
        return threading.current_thread() is threading.main_thread()

    in_this_thread = run([partial(task, number) for number in range(6)], workers=workers)
    assert max(most) <= workers
    assert all(in_this_thread) == (workers == 1)


def test_workers_are_limited_by_processors_and_by_memory(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(side_by_side, "memory_limit_bytes", lambda: 3000)
    assert [workers_for(size) for size in (1, 1000, 1500, 5000)] == [4, 3, 2, 1]


@pytest.fixture
def running(tmp_path, monkeypatch):
    """A task that waits in a child process for ever, and the file in which it leaves the id of that process."""
    monkeypatch.setattr(child, "_idle", {})
    monkeypatch.setattr(child, "subprocess", subprocess)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    begun = tmp_path / "begun"
    stopped = []

    def task():
        try:
            run_in_child(wait_for_ever, begun, who="it", log=tmp_path / "log", time_limit_s=600)
        except Stopped:
            stopped.append(True)
            raise

    yield task, begun, stopped
    for helper in child._idle.values():
        helper.stop()


def wait_for_ever(begun):
    part = begun.with_name("part")
    part.write_text(str(os.getpid()))
    part.rename(begun)
    while True:
        time.sleep(60)


def wait_for(begun):
    while not begun.exists():
        time.sleep(0.01)


def has_ended(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("error", [ValueError("the disk is full"), KeyboardInterrupt("Ctrl-C")])
def test_what_one_raises_ends_the_processes_of_the_others(running, error):
    task, begun, stopped = running

    def fails():
        wait_for(begun)
        raise error

    with pytest.raises(type(error), match=str(error)):
        run([task, fails, task], workers=2)
    assert stopped and all(stopped)
    assert not child._busy and not child._idle
    pid = int(begun.read_text())
    while not has_ended(pid):
        time.sleep(0.01)


@pytest.mark.slow
def test_ctrl_c_ends_all_and_later_tasks_run(running, tmp_path):
    task, begun, stopped = running

    def interrupt():
        wait_for(begun)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run([task, task], workers=2)
    assert stopped == [True, True]
    again = run_in_child(os.path.basename, "a/b", who="it", log=tmp_path / "log", time_limit_s=60)
    assert again.value == "b"
