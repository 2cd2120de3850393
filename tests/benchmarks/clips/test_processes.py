import multiprocessing
import os
import signal
import time

import pytest

from benchmarks.clips.processes import Done, Lost, run_jobs


def count(job, alive):
    """Yields the numbers below `job`."""
    alive()
    yield from range(job)


def misbehave(job, alive):
    """Runs the job."""
    yield "begun"
    if job == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif job == "hang":
        signal.pause()
    elif job == "slow":
        for _ in range(30):
            time.sleep(0.1)
            alive()
    elif job == "raise":
        raise ValueError("the job failed")
    elif job == "print":
        print("x" * 10_000, flush=True)
    elif job == "big":
        yield bytes(5_000_000)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_result_arrives_and_those_of_a_job_in_order(workers):
    found = {}
    for number, result in run_jobs(count, [3, 0, 200], workers=workers):
        found.setdefault(number, []).append(result)
    assert found == {0: [0, 1, 2, Done()], 1: [Done()], 2: [*range(200), Done()]}


def hurry(job, alive):
    """Gives large results as fast as it can, and leaves a file for each."""
    for number in range(20):
        (job / str(number)).touch()
        yield bytes(500_000)


def test_a_worker_waits_when_its_results_are_not_taken(tmp_path):
    results = run_jobs(hurry, [tmp_path], workers=1, waiting_results=2)
    next(results)
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) <= 6  # one taken, two waiting, those on their way
    assert len(list(results)) == 20


def test_a_folder_of_the_users_does_not_hide_the_project(tmp_path, monkeypatch):
    (tmp_path / "benchmarks.py").write_text("raise AssertionError('not this one')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert dict(run_jobs(count, [0], workers=1)) == {0: Done()}


def test_no_jobs_no_results():
    assert list(run_jobs(count, [], workers=2)) == []


def test_a_crash_costs_one_job():
    ends = {number: result for number, result in run_jobs(misbehave, ["crash", "print", "big"], workers=1)}
    assert ends == {0: Lost(reason="the process died (SIGSEGV)"), 1: Done(), 2: Done()}


def test_a_hang_costs_one_job_and_slow_work_is_no_hang():
    jobs = ["hang", "slow", "print"]
    ends = dict(run_jobs(misbehave, jobs, workers=2, silence_limit_s=2.0))
    assert ends == {0: Lost(reason="no sign of life for 2 s"), 1: Done(), 2: Done()}


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_in_a_job_is_raised_here(workers):
    with pytest.raises(ValueError, match="the job failed"):
        list(run_jobs(misbehave, ["print", "raise", "print"], workers=workers))


def test_leaving_early_ends_the_processes():
    before = set(multiprocessing.active_children())
    results = run_jobs(misbehave, ["hang", "hang"], workers=2)
    assert next(results)[1] == "begun"
    results.close()
    assert set(multiprocessing.active_children()) <= before
