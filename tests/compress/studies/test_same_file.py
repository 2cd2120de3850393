"""Study of a file measured against itself: false alarms, found slowdowns, and the published table."""

import json
from pathlib import Path

import numpy as np
import pytest

from compress.studies.generated_blocks import block
from compress.studies.same_file import NEW_PROCESSES, ONE_PROCESS, ratio_of, summarise, table

ROOT = Path(__file__).resolve().parents[3]


def test_the_ratio_is_that_of_the_median_round():
    found = ratio_of(np.log([0.9, 1.0, 1.0, 1.1, 1.2, 1.3, 1.4]))
    assert found == {"ratio": pytest.approx(1.1), "low": pytest.approx(0.9), "high": pytest.approx(1.4)}


def test_false_alarms_and_slowdowns_are_counted_by_arm():
    def compared(arm, low, high):
        return {"arm": arm, "low": low, "high": high}

    summary = summarise(
        [
            compared(NEW_PROCESSES, 0.99, 1.01),  # finds a slowdown of either copy
            compared(NEW_PROCESSES, 0.96, 1.04),  # finds none
            compared(ONE_PROCESS, 1.01, 1.02),  # a false alarm; finds both
        ]
    )
    assert summary[NEW_PROCESSES] == {
        "comparisons": 2,
        "false_alarms": 0.0,
        "slowdowns_found": 0.5,
        "half_width": pytest.approx(0.025),
    }
    assert (summary[ONE_PROCESS]["false_alarms"], summary[ONE_PROCESS]["slowdowns_found"]) == (1.0, 1.0)


def test_the_published_table_is_that_of_the_published_figures():
    figures = json.loads((ROOT / "benchmarks/results/same_file.json").read_text())
    assert block((ROOT / "docs/measuring.md").read_text(), "same_file") == table(figures)
    assert figures["summary"] == summarise(figures["comparisons"])
    assert figures["summary"][NEW_PROCESSES]["false_alarms"] <= 0.05
