"""The simulated error rates of gates: what is stored meets the promises, and simulations repeat."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.studies.gates import RESULTS, correlated, latency, tables

ROOT = Path(__file__).resolve().parents[3]
STORED = json.loads((ROOT / RESULTS).read_text())
NOISE = 3 * (0.05 * 0.95 / 500) ** 0.5
"""Three standard errors of a rate of 5 % over the fewest draws."""


def rows(name, **wanted):
    return [row for row in STORED[name] if all(row[key] == value for key, value in wanted.items())]


def test_false_alarms_are_at_most_five_percent():
    alarms = [
        *(row["fail"] for row in rows("no_regression", drop_pp=0.0)),
        *(row[word] for row in rows("within_limit", drop_pp=2.0) for word in ("fail", "pass")),
        *(row["fail"] for row in rows("correlated", unit="file")),
        *(row["fail"] for row in rows("sensitivity", shift=0.0)),
        *(row[word] for row in rows("latency", ratio=1.05) for word in ("fail", "pass")),
    ]
    assert len(alarms) == 5 + 4 + 1 + 2 + 2
    assert max(alarms) <= 0.05 + NOISE


@pytest.mark.parametrize(("clips", "flips"), [(400, 0.0275), (800, 0.05)])
def test_two_points_are_found_with_power_0_8(clips, flips):
    (row,) = rows("no_regression", clips=clips, flips=flips, drop_pp=2.0)
    assert row["fail"] >= 0.8 and row["pass"] <= 0.2


def test_counting_clips_of_one_file_would_raise_false_alarms():
    assert rows("correlated", unit="clip")[0]["fail"] > 0.2


def test_real_files_compared_with_themselves_pass():
    (row,) = STORED["real_latency"]
    assert row["comparisons"] == 20 and row["pass"] == 1


def test_simulations_repeat():
    assert list(correlated(100)) == list(correlated(100))
    first = list(latency(100))
    assert first == list(latency(100)) and [row["ratio"] for row in first] == [1.0, 1.05, 1.1]


def test_the_tables_have_all_rows():
    text = "\n".join(tables(STORED))
    assert text.count("\n| ") >= sum(len(STORED[name]) for name in STORED if name != "draws")
    assert "| 400 | 2.75 % | 2 points | 80.3 % |" in text
