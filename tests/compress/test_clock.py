"""Wall time and processor time, and when the machine counts as busy."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from compress.steps.clock import Clock, busy

QUIET = {"seconds": 100.0, "cpu_seconds": 190.0, "threads": 2, "load_1min": 2.0, "cores": 2}


@pytest.mark.parametrize(
    "changes, is_busy",
    [
        ({}, False),
        ({"cpu_seconds": 90.0, "load_1min": 3.0}, True),  # half of the processors went elsewhere
        ({"cpu_seconds": 90.0, "load_1min": 1.0}, False),  # one thread of two had nothing to do
        ({"load_1min": 5.0}, True),
        ({"load_1min": 5.0, "seconds": 5.0, "cpu_seconds": 9.0}, False),  # too short to tell
        ({"load_1min": 5.0, "seconds": 20.0, "cpu_seconds": 39.0}, False),  # the average tells of before
        ({"threads": 0, "cpu_seconds": 30.0, "load_1min": 1.0}, False),  # on a GPU
        ({"threads": 4, "cpu_seconds": 200.0, "load_1min": 3.0, "cores": 64}, False),
    ],
)
def test_when_the_machine_was_busy(changes, is_busy):
    said = busy(**{**QUIET, **changes})
    assert (said is not None) == is_busy
    if said:
        assert said.startswith("the machine was busy: ") and "other work for " in said


def test_processor_time_of_this_process_and_of_children_that_have_ended():
    clock = Clock()
    time.sleep(0.3)
    assert clock.taken(threads=1).cpu_seconds < 0.25
    spin = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", spin], check=True)
    taken = clock.taken(threads=1)
    assert 0.4 < taken.cpu_seconds < 2
    assert taken.seconds >= 0.3 + 0.4 and taken.busy is None


def test_the_report_shows_processor_time_and_a_busy_machine():
    from compress.report.page import _stage

    stage = {
        **{
            "name": "distill",
            "path": "stages.0.distill",
            "cached": False,
            "threads": 2,
            "before": {},
            "after": {},
        },
        **{"seconds": 120.0, "cpu_seconds": 95.0, "busy": "the machine was busy: ...", "notes": ["a note"]},
    }
    shown = _stage(stage)
    assert shown["time"] == "2 min 00 s (1 min 35 s of processors) on 2 threads"
    assert shown["notes"] == ["a note", "the machine was busy: ..."]
    assert _stage({**stage, "cpu_seconds": None, "busy": None})["time"] == "2 min 00 s on 2 threads"
