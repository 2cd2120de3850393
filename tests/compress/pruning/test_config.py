"""Settings that do not fit together are refused when a recipe is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.pruning.config import PruneConfig
from compress.stages import STAGES
from tests.commands import run_command_line

TINY = Path(__file__).resolve().parents[2] / "recipes" / "tiny.yaml"

REFUSED = {
    "0 targets are given; give exactly one of macs, parameters, latency, size_bytes, latency_ms": {},
    "2 targets are given: macs, latency; give exactly one": {"macs": 0.5, "latency": 0.5},
    "sparsity is for pattern unstructured; pattern structured has a target": {"macs": 0.5, "sparsity": 0.5},
    "pattern unstructured needs sparsity": {"pattern": "unstructured"},
    "pattern 2:4 sets half of the weights to zero": {"pattern": "2:4", "sparsity": 0.5},
    "macs has no effect: pattern 2:4 does not remove channels; omit it": {"pattern": "2:4", "macs": 0.5},
    "criterion has no effect: pattern unstructured": {
        "pattern": "unstructured",
        "sparsity": 0.5,
        "criterion": "taylor",
    },
    "scope has no effect: pattern 2:4": {"pattern": "2:4", "scope": "layer"},
    "runtime has no effect: the target macs is not measured in a runtime": {"macs": 0.5, "runtime": "tflite"},
    "scheme has no effect: the target parameters is not": {"parameters": 0.5, "scheme": "w8a8"},
    "isomorphic compares layers of equal structure, scope layer none": {
        "macs": 0.5,
        "isomorphic": True,
        "scope": "layer",
    },
    "the target latency compares all layers by importance per millisecond": {
        "latency": 0.5,
        "scope": "layer",
    },
    "steps is 3, but there are 2 epochs of recovery; give one or more": {
        "macs": 0.5,
        "steps": 3,
        "epochs": 2,
    },
}


@pytest.mark.parametrize("expected", REFUSED)
def test_settings_that_do_not_fit_together_are_refused(expected):
    with pytest.raises(ValueError, match=expected):
        PruneConfig(**REFUSED[expected])


@pytest.mark.parametrize(
    "settings",
    [
        {"size_bytes": 1000, "scheme": "w8a8"},
        {"latency_ms": 2.0, "runtime": "executorch", "scheme": "w8a8"},
        {"pattern": "unstructured", "sparsity": 0.9, "scope": "layer", "steps": 2, "learning_rate": 0.1},
        {"macs": 0.5, "isomorphic": True, "sparse_training": {"epochs": 1}, "epochs": 0},
    ],
)
def test_settings_that_fit_are_accepted(settings):
    config = PruneConfig(**settings)
    assert config.trains == (config.epochs > 0 or config.sparse_training is not None)


def test_goals_are_shares_of_the_original_or_absolute():
    assert PruneConfig(latency=0.5).goal(8.0) == 4.0
    assert PruneConfig(latency_ms=0.5).goal(8.0) == 0.5


DEVICES = {
    "device has no effect: the target macs is not measured in a runtime": {
        "macs": 0.5,
        "device": "ssh:pi@board",
    },
    "device 'sssh' is unknown; allowed: host, ssh, adb, browser": {"latency": 0.5, "device": "sssh:pi@board"},
}


@pytest.mark.parametrize("expected", DEVICES)
def test_devices_that_do_not_fit_are_refused(expected):
    with pytest.raises(ValueError, match=expected):
        STAGES["prune"].config(**DEVICES[expected])


def test_the_device_of_a_latency_is_part_of_the_key():
    stage = STAGES["prune"]
    here, board, other = (
        stage.config(latency=0.5, device=one)
        for one in ("host", "ssh:pi@board", {"ssh": {"address": "pi@board", "name": "big"}})
    )
    assert [config.measured_on[0] for config in (here, board, other)] == ["host", "ssh", "big"]
    assert stage.machine(here)["processor"] and stage.machine(here).keys() == {"runtimes", "processor"}
    assert [method.__module__ for method in stage.methods(board)][2:] == ["benchmarks.ssh.settings"]
    assert len(stage.methods(here)) == 2
    assert stage.config(**board.model_dump(mode="json")) == board


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("pattern: unstructured, epochs: 1", "pattern unstructured needs sparsity"),
        ("macs: 0.7, criterion: tailor", "criterion"),
        ("macs: 0.7, sparsity: 0.5", "sparsity is for pattern unstructured"),
    ],
)
def test_a_run_with_wrong_settings_ends_with_code_2_before_any_computation(tmp_path, settings, expected):
    wrong = TINY.read_text().replace("macs: 0.7, epochs: 1, batch: 8, round_to: 2", settings)
    (tmp_path / "wrong.yaml").write_text(wrong)
    done = run_command_line(["compress.run", tmp_path / "wrong.yaml", "--out", tmp_path / "out"])
    assert done.returncode == 2 and expected in done.stderr and "prune" in done.stderr
    assert not (tmp_path / "out").exists()
