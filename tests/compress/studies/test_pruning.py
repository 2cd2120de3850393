"""The comparison of pruning for latency and for MACs: equal accuracy, the table, and the whole command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from compress.studies import pruning
from compress.studies.pruning import gains, table

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny.yaml"
PAGE = "before\n<!-- generated: pruning -->\nold\n<!-- end -->\nafter\n"


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


def _run(*arguments):
    app = Typer()
    app.command()(pruning.main)
    return CliRunner().invoke(app, [str(TINY), *arguments])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--latency", "1.5"], r"prune\.latency.*given: 1\.5"),
        (["--runtime", "coreml"], r"prune\.runtime.*given: 'coreml'"),
        (["--student", "mobilenet4d"], "student.*mobilenet4d"),
        (["--set", "stages=[{distill: {epochs: 1}}]"], "needs.*the.*stages.*distill.*and.*prune"),
    ],
)
def test_wrong_options_are_refused_before_any_training(tmp_path, options, message):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    places = ["--page", str(page), "--results", str(tmp_path / "x.json"), "--out", str(tmp_path / "out")]
    done = _run(*places, "--student", "mobilenet3d_tiny", *options)
    assert done.exit_code == 2
    assert re.search(message, " ".join(done.output.split())), done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_prunes_measures_and_writes_page_and_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(pruning, "LATENCY", ())  # its table of latencies is measured in tests of pruning
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(PAGE)
    places = {"--out": tmp_path / "out", "--cache": tmp_path / "cache", "--page": page, "--results": results}
    arguments = [*(str(part) for pair in places.items() for part in pair), "--student", "mobilenet3d_tiny"]
    quick = ["--set", "stages.0.distill={epochs: 1, batch: 8}", "--macs", "0.7"]
    done = _run(*arguments, *quick)
    assert done.exit_code == 0, done.output
    figures = json.loads(results.read_text())
    assert figures["command"] == (
        "python -m compress.studies.pruning path/to/tiny.yaml --set 'stages.0.distill={epochs: 1, batch: 8}' "
        "--student mobilenet3d_tiny --macs 0.7 --runtime onnx"
    )
    assert str(tmp_path) not in results.read_text()
    (student,) = figures["students"]
    assert [row["target"] for row in student["networks"]] == [None, "macs"]
    assert student["networks"][1]["macs_share"] <= 0.72 and student["networks"][1]["latency_share"] > 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("<!-- end -->\nafter\n") and "old" not in text
    assert "| mobilenet3d_tiny | macs 0.7 |" in text
