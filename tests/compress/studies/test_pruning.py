"""The comparison of pruning for latency and for MACs: equal accuracy, and the table."""

from __future__ import annotations

import pytest

from compress.studies.pruning import gains, table


def row(target, share, *, top1, latency):
    return {
        "target": target,
        "asked_share": share,
        "top1": top1,
        "macs_share": share,
        "latency_share": latency,
        "speedup_per_reduction": share / latency,
    }


ROWS = [
    row(None, 1.0, top1=0.9, latency=1.0),
    row("macs", 0.5, top1=0.8, latency=0.6),
    row("latency", 0.5, top1=0.85, latency=0.5),
    row("latency", 0.2, top1=0.7, latency=0.2),
]


def test_latencies_are_compared_at_equal_accuracy_between_the_mac_aware_networks():
    first, second = gains(ROWS)
    assert first["macs_aware_latency_share"] == pytest.approx(0.8)
    assert first["faster"] == pytest.approx(1.6)
    assert second == {"asked_share": 0.2, "macs_aware_latency_share": None, "faster": None}


def test_the_table_has_a_row_for_every_network():
    figures = {"runtime": "onnx", "cpu": "a CPU", "command": "python -m x"}
    text = table({**figures, "students": [{"student": "tiny", "networks": ROWS, "gains": gains(ROWS)}]})
    assert "| tiny | macs 0.5 | 80.0 % | 50 % | 60 % | 0.83 |  |" in text
    assert "| tiny | latency 0.5 | 85.0 % | 50 % | 50 % | 1.00 | 1.60x |" in text
    assert "| tiny | latency 0.2 | 70.0 % | 20 % | 20 % | 1.00 |  |" in text
