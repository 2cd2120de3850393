"""Starts and rounds on a device with a deterministic clock."""

import numpy as np
import pytest

from benchmarks.conditions import OtherLoad
from benchmarks.latency import log_ratios, measure_files, ratio
from benchmarks.rounds import shares
from tests.benchmarks.scripted_device import ScriptedDevice, file

WARM_UP_CALLS = 3
"""Calls of `time_runs` before the first turn of a steady file."""


def measure(clock, *, schemes=("fp32", "w8a8"), rounds=18, load=None, **settings):
    device = ScriptedDevice(clock, load=load)
    return device, measure_files(
        [file(name) for name in schemes], {}, device=device, rounds=rounds, **settings
    )


def test_rounds_end_when_time_is_up():
    _, (first, second) = measure(lambda *_: 1.0, max_seconds=-1.0)
    assert (first.rounds, second.rounds) == (1, 1)
    assert first.p50_ci95_ms is None
    assert first.notes == second.notes == ("stopped after 1 of 18 rounds: the limit of -1 s was exceeded",)


def test_a_duration_holds_for_every_file():
    _, (first, second) = measure(
        lambda scheme, *_: 1.0 if scheme == "fp32" else 3.0, rounds=9, duration_s=2.5
    )
    assert first.rounds == second.rounds > 25 - 1
    assert min(first.timed_s, second.timed_s) >= 2.5
    assert first.timed_s == pytest.approx(first.inferences / 1000)


def test_a_duration_also_needs_many_inferences():
    _, (first, second) = measure(
        lambda scheme, *_: 1.0 if scheme == "fp32" else 90.0, rounds=9, duration_s=0.1
    )
    assert second.inferences == 1024
    assert first.rounds == second.rounds == 512


def test_a_duration_does_not_wait_for_a_file_that_died():
    def clock(scheme, start, call):
        return -1.0 if scheme == "w8a8" and call == WARM_UP_CALLS else 1.0

    _, (first, second) = measure(clock, rounds=9, duration_s=0.1)
    assert second.failed
    assert first.inferences >= 1024


def test_rounds_are_divided_among_starts():
    assert shares(30, 9) == [3, 3, 4, 3, 3, 4, 3, 3, 4]
    assert shares(9, 9) == [1] * 9
    assert shares(4, 9) == [1] * 4
    assert shares(15, 1) == [15]


def test_every_start_opens_new_sessions_and_one_for_the_reference():
    device, (first, second) = measure(lambda *_: 1.0)
    assert (device.opened.count("fp32"), device.opened.count("w8a8")) == (18, 9)
    assert first.round_starts == second.round_starts == tuple(np.repeat(np.arange(9), 2))
    assert (first.rounds, first.starts, first.inferences) == (18, 9, 18 * 100)


def test_few_starts_have_no_reference_no_interval_and_no_judgement():
    device, (first, _) = measure(lambda *_: 1.0, rounds=5)
    assert device.opened == ["fp32", "w8a8"] * 5
    assert (first.starts, first.p50_ci95_ms, first.conditions) == (5, None, None)
    assert measure(lambda *_: 1.0, starts=1)[1][0].starts == 1


def test_the_interval_covers_the_differences_between_processes():
    _, (latency, _) = measure(lambda scheme, start, call: 1.0 + 0.01 * (start % 9))
    low_ms, high_ms = latency.p50_ci95_ms
    assert high_ms - low_ms > 0.05
    assert latency.p50_ms == pytest.approx(1.04, abs=0.011)


def test_figures_of_several_starts():
    _, (_, latency) = measure(lambda scheme, start, call: [1.0, 2.0, 4.0][start % 3], rounds=9)
    assert latency.p50_ms == 2.0
    assert latency.p50_ci95_ms == (1.0, 4.0)
    assert latency.round_p50_ms == (1.0, 2.0, 4.0) * 3
    assert (latency.load_ms, latency.first_ms) == (14.0, 2.0)
    assert (latency.peak_rss_bytes, latency.model_rss_bytes) == (1008, 108)


def test_ratios_are_paired_within_rounds_and_counted_by_start():
    def clock(scheme, start, call):
        drift = 1.0 + 0.5 * (call - WARM_UP_CALLS if call >= WARM_UP_CALLS else 0)
        return drift * (2.0 if scheme == "w8a8" else 1.0)

    _, (first, second) = measure(clock, rounds=27)
    assert len(log_ratios(second, first)) == 9
    compared = ratio(second, first)
    assert compared.value == pytest.approx(2)
    assert compared.ci95 == pytest.approx((2, 2))


def test_files_of_different_measurements_are_not_compared():
    _, (first, _) = measure(lambda *_: 1.0)
    _, (second, _) = measure(lambda *_: 1.0, rounds=9)
    with pytest.raises(ValueError, match=r"onnx.fp32 and onnx.fp32 were not measured in the same rounds"):
        ratio(second, first)


def test_a_file_that_dies_in_a_later_start_does_not_stop_the_others():
    def clock(scheme, start, call):
        return -1.0 if scheme == "fp32" and start == 4 and call == WARM_UP_CALLS else 1.0

    _, (first, second) = measure(clock)
    assert first.failed and first.unavailable == "onnx/fp32/model.onnx: died"
    assert (first.p50_ms, second.p50_ms, second.rounds) == (None, 1.0, 18)


def test_a_reference_that_dies_leaves_the_conditions_unknown_and_says_so():
    def clock(scheme, start, call):
        return -1.0 if scheme == "fp32" and start == 3 and call == WARM_UP_CALLS else 1.0

    _, (first, second) = measure(clock)
    assert (first.p50_ms, first.conditions, second.conditions) == (1.0, None, None)
    reason = "conditions unknown: onnx.fp32 failed when measured twice: onnx/fp32/model.onnx: died"
    assert first.notes == second.notes == (reason,)


def test_the_reference_is_the_first_file_that_runs():
    _, (first, second) = measure(lambda scheme, *_: -1.0 if scheme == "fp32" else 1.0)
    assert first.failed
    assert second.conditions.reference == "onnx.w8a8"
    assert (second.conditions.twin_ratio, second.conditions.twin_ratio_ci95) == (1.0, (1.0, 1.0))


def test_nothing_runs():
    told = []
    _, (only,) = measure(lambda *_: -1.0, schemes=("fp32",), progress=lambda *step: told.append(step))
    assert only.failed
    assert told[0] == ("load", 1, 1)


def test_rounds_with_a_slow_reference_are_counted():
    def clock(scheme, start, call):
        return 2.0 if start // 2 in (1, 4, 6) and call >= WARM_UP_CALLS else 1.0

    _, (first, _) = measure(clock)
    assert (first.conditions.slow_rounds, first.conditions.rounds) == (6, 18)
    assert first.conditions.busy == ("6 of 18 rounds were slow",)
    assert "busy machine: 6 of 18 rounds were slow" in first.notes


def test_other_load_of_the_device_is_reported():
    load = OtherLoad(cores=2, others_cores=1.5, steal_share=0.0)
    _, (first, second) = measure(lambda *_: 1.0, load=load)
    assert first.conditions == second.conditions
    assert second.notes == ("busy machine: other processes used 1.5 of 2 cores",)


def test_a_file_that_never_becomes_steady_says_so():
    _, (first, second) = measure(
        lambda scheme, start, call: 1.0 + 0.1 * (scheme == "w8a8" and start < 4) * (call % 2)
    )
    assert first.notes == ()
    assert second.notes == (
        "not steady after 2 s in 4 of 9 starts: medians of successive blocks differed by more than 3%",
    )
