"""Warm-up: until two successive blocks agree, bounded in time."""

import numpy as np
import pytest

from benchmarks.steady import LONGEST_S, inferences_in, warm_up
from tests.benchmarks.scripted_device import ScriptedSession, file


def warmed(clock):
    calls = []

    def counted(_, __, call):
        calls.append(call)
        return clock(call)

    return warm_up(ScriptedSession(file("fp32"), counted, start=0)), len(calls)


def test_a_steady_file_takes_two_blocks_after_the_first_inference():
    warm, calls = warmed(lambda call: 50.0 if call == 0 else 1.0)
    assert (warm.steady, warm.latency_s, calls) == (True, 0.001, 3)


def test_a_file_that_becomes_faster_is_run_until_it_stays():
    warm, calls = warmed(lambda call: max(1.0, 2.0 - 0.2 * call))
    assert (warm.steady, warm.latency_s, calls) == (True, 0.001, 7)


def test_differences_within_the_tolerance_are_steady():
    assert warmed(lambda call: 1.0 + 0.02 * (call % 2))[0].steady
    assert not warmed(lambda call: 1.0 + 0.05 * (call % 2))[0].steady


def test_an_unsteady_file_ends_within_the_time():
    warm, calls = warmed(lambda call: 10.0 * (1 + call % 2))
    assert not warm.steady
    assert 0.05 * (calls - 2) < LONGEST_S
    assert warm.latency_s in (0.01, 0.02)


def test_a_slow_file_is_not_run_for_long():
    warm, calls = warmed(lambda call: 5000.0 * (2 if call == 1 else 1))
    assert (warm.steady, calls) == (False, 2)
    assert np.isclose(warm.latency_s, 10)


@pytest.mark.parametrize(
    ("latency_s", "expected"), [(0.0, 100), (1e-9, 100), (0.001, 50), (0.03, 2), (7.0, 1)]
)
def test_number_of_inferences_of_a_time(latency_s, expected):
    assert inferences_in(0.05, latency_s=latency_s, most=100) == expected
