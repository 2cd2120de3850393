"""Latency gates: the decision at each look, and real files in ONNX Runtime."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from benchmarks.device import Unavailable
from benchmarks.devices import HostSettings
from compress.gating.baseline import read_baseline, write_baseline
from compress.gating.compare import compare
from compress.gating.latency import decide_ratio
from compress.gating.measured import read_measured
from compress.gating.settings import Gate, GateSettings, LatencyGate
from tests.measured_runs import logits_of, truth_of, write_run


def decided(ratios, *, look=1, looks=4):
    return decide_ratio(np.log(ratios).tolist(), limit=1.05, look=look, looks=looks, alpha=0.05)


def test_a_clear_ratio_is_decided_at_the_first_look():
    slow = decided([1.3, 1.31, 1.29, 1.3, 1.28, 1.32, 1.3, 1.31])
    assert slow.verdict == "fail" and slow.ratio == pytest.approx(1.301, abs=1e-3)
    assert "1.301 times the latency of the baseline over 8 rounds, 1 of 4 looks; limit 1.05" in slow.reason
    assert decided([1.0, 1.01, 0.99, 1.0, 0.98, 1.02, 1.0, 1.01]).verdict == "pass"


def test_early_looks_ask_for_more():
    ratios = [1.08, 1.2, 1.01, 1.1, 1.12, 1.03, 1.2, 1.09]
    early, late = decided(ratios), decided(ratios, look=4)
    assert early.verdict == "inconclusive" and late.verdict == "fail"
    assert early.needed.startswith("about ") and early.needed.endswith("more rounds like these")


def test_a_ratio_at_the_limit_is_not_decided():
    found = decided([1.05, 1.06, 1.04, 1.05])
    assert found.verdict == "inconclusive"
    assert found.needed == "more than 64 times as many rounds: the ratio is close to the limit"


@pytest.mark.parametrize(("ratio", "wrong"), [(1.05, "fail"), (1.05, "pass"), (1.0, "fail"), (1.1, "pass")])
def test_four_looks_keep_the_error_rate(ratio, wrong):
    """Noise of 3 % with heavy tails (t, 3 degrees of freedom), eight rounds for each look."""
    random = np.random.default_rng(0)
    counted = Counter()
    for _ in range(600):
        logs = (math.log(ratio) + 0.0173 * random.standard_t(3, 32)).tolist()
        for look in range(1, 5):
            found = decide_ratio(logs[: 8 * look], limit=1.05, look=look, looks=4, alpha=0.05)
            if found.verdict != "inconclusive":
                break
        counted[found.verdict] += 1
    assert counted[wrong] / 600 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 600)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Compares a file of `work` matrix products with one of `earlier`, in ONNX Runtime."""

    def compare_files(work, earlier, **gate):
        folder = tmp_path_factory.mktemp("latency")
        answers = {"onnx.w8a8": logits_of(truth_of(6))}
        write_baseline(
            read_measured(write_run(folder / "earlier", answers, clips=6, work=earlier)), folder / "baseline"
        )
        baseline, _ = read_baseline(folder / "baseline")
        run = read_measured(write_run(folder / "run", answers, clips=6, work=work))
        return run, baseline, GateSettings.model_validate({"gates": [{"latency": {"looks": 1, **gate}}]})

    return compare_files


def test_a_slower_file_fails_and_a_faster_one_passes(compared):
    (slower,) = compare(*compared(60, 2, rounds=4)).outcomes
    assert slower.verdict == "fail" and slower.value > 3
    assert slower.figure == "files.onnx.w8a8.host.latency"
    (faster,) = compare(*compared(2, 60, rounds=4)).outcomes
    assert faster.verdict == "pass" and faster.value < 0.4


def test_the_same_file_is_not_measured(compared):
    (outcome,) = compare(*compared(2, 2)).outcomes
    assert outcome.verdict == "pass" and "byte for byte" in outcome.reason


def test_files_that_do_not_run_are_told_apart(compared):
    run, baseline, settings = compared(2, 3)
    for broken, verdict, reason in (
        (run, "fail", "the file of the baseline runs here, that of this run does not: onnx/w8a8/model.onnx"),
        (baseline, "inconclusive", "the file of the baseline does not run here: onnx/w8a8/model.onnx"),
    ):
        (file,) = broken.exported.files
        content = file.path.read_bytes()
        file.path.write_bytes(b"no model")
        (outcome,) = compare(run, baseline, settings).outcomes
        assert outcome.verdict == verdict and reason in outcome.reason
        file.path.write_bytes(content)


def test_files_that_run_on_neither_side_are_a_note(compared):
    run, baseline, settings = compared(2, 3)
    for side in (run, baseline):
        side.exported.files[0].path.write_bytes(b"no model")
    judgement = compare(run, baseline, settings)
    assert judgement.outcomes == ()
    assert "files.onnx.w8a8.host.latency is measured on neither side" in judgement.notes[-1]


class Gone(HostSettings):
    """A device that cannot be reached."""

    def connect(self, name):
        device = super().connect(name)

        class Unreachable:
            def __enter__(self):
                raise Unavailable("no cable: plug it in")

            def __exit__(self, *_):
                device.__exit__(None)

        return Unreachable()


def test_a_device_that_is_missing_is_inconclusive_for_its_files(compared):
    run, baseline, _ = compared(2, 3)
    settings = GateSettings(gates=(Gate(latency=LatencyGate(device=Gone(name="board"))),))
    (outcome,) = compare(run, baseline, settings).outcomes
    assert outcome.verdict == "inconclusive" and outcome.figure == "files.onnx.w8a8.board.latency"
    assert outcome.reason == "device board cannot be used: no cable: plug it in"


def test_too_many_threads_are_refused(compared):
    with pytest.raises(ValueError, match="threads is 1000: device 'host' has"):
        compare(*compared(2, 3, threads=1000))
