"""Conditions of a measurement: each kind of disturbance is named, a quiet machine is not."""

from collections import namedtuple

import psutil
import pytest

from benchmarks.conditions import OtherLoad, judge
from benchmarks.host_load import HostLoad, other_load

QUIET = OtherLoad(cores=4, others_cores=0.2, steal_share=0.0)


def judged(times=(1.0,) * 10, *, ratio=1.0, interval=(0.99, 1.01), load=QUIET):
    return judge("onnx.fp32", times, twin_ratio=ratio, twin_ratio_ci95=interval, load=load)


def test_a_quiet_machine():
    found = judged((1.0,) * 9 + (1.2,))
    assert (found.busy, found.slow_rounds, found.rounds) == ((), 0, 10)
    assert (found.others_cores, found.steal_share) == (0.2, 0.0)
    assert 1 < found.reference_spread < 1.2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"load": OtherLoad(cores=4, others_cores=1.1, steal_share=0.0)},
            "other processes used 1.1 of 4 cores",
        ),
        (
            {"load": OtherLoad(cores=4, others_cores=0.0, steal_share=0.05)},
            "other virtual machines took 5% of the processor time",
        ),
        ({"times": (1.0,) * 7 + (1.3,) * 3}, "3 of 10 rounds were slow"),
        ({"ratio": 1.04, "interval": (1.02, 1.06)}, "onnx.fp32 measured twice differs by 4.0%"),
    ],
)
def test_each_disturbance_is_named(changes, reason):
    assert judged(**changes).busy == (reason,)


@pytest.mark.parametrize(
    "changes",
    [
        {"times": (1.0,) * 8 + (1.3,) * 2},
        {"ratio": 1.04, "interval": (0.98, 1.06)},
        {"ratio": 1.01, "interval": (1.005, 1.02)},
        {"ratio": 1.04, "interval": None},
        {"load": None},
        {"load": OtherLoad(cores=4, others_cores=None, steal_share=None)},
    ],
)
def test_what_is_no_evidence(changes):
    assert judged(**changes).busy == ()


def test_a_device_that_reports_no_load():
    found = judged(load=None)
    assert (found.others_cores, found.steal_share) == (None, None)


Times = namedtuple("Times", "user nice system idle iowait steal guest")


def test_other_load_from_processor_times():
    before = Times(user=100, nice=10, system=5, idle=50, iowait=1, steal=0, guest=3)
    after = Times(user=104, nice=11, system=6, idle=61, iowait=2, steal=2, guest=7)
    # 20 s of processor time in all: 6 s of work, of which 2 s are own, 12 s idle, 2 s stolen.
    found = other_load(before, after, own_s=2.0, cores=2)
    assert found == OtherLoad(cores=2, others_cores=pytest.approx(0.4), steal_share=pytest.approx(0.1))


def test_a_system_without_steal_or_progress():
    pair = namedtuple("Pair", "user idle")
    assert other_load(pair(0, 0), pair(1, 1), own_s=5.0, cores=2) == OtherLoad(
        cores=2, others_cores=0.0, steal_share=None
    )
    assert other_load(pair(1, 1), pair(1, 1), own_s=0.0, cores=2).others_cores is None


def test_own_work_is_not_that_of_others():
    watch = HostLoad()
    begin = psutil.Process().cpu_times().user
    while psutil.Process().cpu_times().user < begin + 0.2:
        sum(range(10_000))
    found = watch.end()
    assert 0 <= found.others_cores <= found.cores - found.cores * 0.001
