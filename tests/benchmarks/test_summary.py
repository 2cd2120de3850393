"""The line about a device above its tables."""

from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.device import CoreCluster
from benchmarks.machine import describe
from benchmarks.measure import Measurement
from benchmarks.summary import print_summary

LITTLE = CoreCluster(cpus="0-3", core="Cortex-A55", max_mhz=1800.0)
BIG = CoreCluster(cpus="4-7", core=None, max_mhz=2400.0)


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"clusters": (), "cpus": None}, "Rock, 4 cores, Linux;"),
        (
            {"clusters": (LITTLE, BIG), "cpus": None},
            "Rock, 4 cores (0-3: Cortex-A55 up to 1800 MHz, 4-7: cores up to 2400 MHz), Linux;",
        ),
        (
            {"clusters": (replace(LITTLE, max_mhz=None),), "cpus": "0-3"},
            "Rock, bound to cores 0-3 (0-3: Cortex-A55), Linux;",
        ),
    ],
)
def test_clusters_of_cores_are_shown(facts, shown):
    device = replace(describe("board"), cpu="Rock", cores=4, system="Linux", **facts)
    console = Console(record=True, width=200)
    measured = Measurement(name="board", device=device, latency=[], accuracy=[])
    print_summary(measured, [], console=console, threads=1)
    assert f"board: {shown}" in console.export_text()
