"""Verdicts on planted differences, and on none."""

from __future__ import annotations

import numpy as np
import pytest

from compress.gating.baseline import read_baseline, write_baseline
from compress.gating.compare import compare
from compress.gating.measured import read_measured
from compress.gating.pairs import cross_entropy, margin
from compress.gating.settings import GateSettings
from tests.measured_runs import logits_of, truth_of, write_run
from tests.specs import small_spec

TRUTH = truth_of(400)
SAME = logits_of(TRUTH, range(40))
"""90 % right."""


def settings(*gates, **more):
    return GateSettings.model_validate({"gates": list(gates), **more})


def judged(tmp_path, before, after, given, *, earlier=None, **run):
    """The judgement on a run with the answers `after`, against a baseline with `before`."""
    clips = len(next(iter(before.values())))
    write_baseline(
        read_measured(write_run(tmp_path / "earlier", before, clips=clips, **(earlier or {}))),
        tmp_path / "baseline",
    )
    baseline, _ = read_baseline(tmp_path / "baseline")
    return compare(read_measured(write_run(tmp_path / "run", after, clips=clips, **run)), baseline, given)


def accuracy_of(tmp_path, after, *, before=SAME, gate=None, clips_per_file=1, **more):
    """The outcome for one file, whose bytes have changed."""
    (outcome,) = judged(
        tmp_path,
        {"onnx.w8a8": before},
        {"onnx.w8a8": after},
        settings({"accuracy": gate or {}}, **more),
        work=2,
        clips_per_file=clips_per_file,
        earlier={"clips_per_file": clips_per_file},
    ).outcomes
    return outcome


def test_a_lost_accuracy_fails_and_names_the_clips(tmp_path):
    outcome = accuracy_of(tmp_path, logits_of(TRUTH, [*range(38), *range(100, 112)]))
    assert outcome.verdict == "fail" and outcome.figure == "files.onnx.w8a8.label"
    assert "top-1 90.0% -> 87.5%: 12 clips lost, 2 gained of 400" in outcome.reason
    assert (outcome.baseline, outcome.value) == (0.9, 0.875) and outcome.p_value < 0.01
    losses = [flip for flip in outcome.flips if flip.is_loss]
    assert len(outcome.flips) == 14 and outcome.flips[:12] == tuple(losses)
    assert str(losses[0]) == "0100.mp4: b -> c (was right)"
    assert str(outcome.flips[-1]) == "0039.mp4: b -> a (right is a)"


def test_as_many_gains_as_losses_pass(tmp_path):
    outcome = accuracy_of(tmp_path, logits_of(TRUTH, [*range(38), 100, 101]))
    assert outcome.verdict == "pass" and len(outcome.flips) == 4


def test_what_few_clips_cannot_tell_is_inconclusive_and_says_what_would(tmp_path):
    truth = truth_of(40)
    outcome = accuracy_of(tmp_path, logits_of(truth, [1, 2]), before=logits_of(truth, [0, 1]))
    assert outcome.verdict == "inconclusive"
    assert outcome.needed.startswith("about ") and outcome.needed.endswith(
        "more clips that differ as these do"
    )


def test_a_clear_gain_passes_though_many_clips_changed(tmp_path):
    outcome = accuracy_of(tmp_path, logits_of(TRUTH, range(35, 45)), before=logits_of(TRUTH, range(40)))
    assert outcome.verdict == "pass" and len(outcome.flips) == 40


def test_clips_that_are_not_finite_count_as_wrong(tmp_path):
    after = SAME.copy()
    after[100:120] = np.nan
    outcome = accuracy_of(tmp_path, after)
    assert outcome.verdict == "fail" and str(outcome.flips[0]).startswith("0100.mp4: b -> not finite")


@pytest.mark.parametrize(("lost", "verdict"), [(4, "pass"), (8, "inconclusive"), (14, "fail")])
def test_a_drop_is_compared_with_a_limit(tmp_path, lost, verdict):
    after = logits_of(TRUTH, [*range(40), *range(100, 100 + lost)])
    outcome = accuracy_of(tmp_path, after, gate={"max_drop_pp": 1 if verdict == "fail" else 3})
    assert outcome.verdict == verdict, outcome.reason


def test_correlated_clips_are_counted_by_file(tmp_path):
    """Twelve clips of three files are lost: significant by clip, and by file nothing that chance does not do."""
    after = logits_of(TRUTH, [*range(40), *range(100, 112)])
    alone = accuracy_of(tmp_path / "alone", after)
    together = accuracy_of(tmp_path / "together", after, clips_per_file=4)
    assert alone.verdict == "fail" and together.verdict == "inconclusive"
    assert "of 400, counted as" in together.reason


def test_several_files_share_the_error_rate(tmp_path):
    """One file of six with five losses: p = 0.016 alone, not significant among six."""
    lost = logits_of(TRUTH, [*range(40), *range(100, 105)])
    alone = accuracy_of(tmp_path / "one", lost)
    names = [f"onnx.w{k}" for k in range(6)]
    changed = logits_of(TRUTH, [*range(39), 200])
    among = judged(
        tmp_path / "six",
        dict.fromkeys(names, SAME),
        {name: lost if name == "onnx.w0" else changed for name in names},
        settings({"accuracy": {}}),
        work=2,
    )
    assert alone.verdict == "fail" and alone.p_value == pytest.approx(0.5**6)
    assert among.outcomes[0].verdict != "fail" and among.outcomes[0].p_value == pytest.approx(6 * 0.5**6)


def test_cross_entropy_sees_what_right_and_wrong_do_not(tmp_path):
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.3, SAME.shape).astype(np.float32)
    before, after = SAME + noise, 0.8 * SAME + noise
    gates = ({"accuracy": {}}, {"cross_entropy": {}}, {"margin": {}})
    judgement = judged(tmp_path, {"onnx.w8a8": before}, {"onnx.w8a8": after}, settings(*gates), work=2)
    accuracy, entropy, distance = judgement.outcomes
    assert accuracy.verdict == "pass"
    assert entropy.verdict == "fail" and entropy.value > entropy.baseline
    assert distance.verdict == "fail" and distance.value < distance.baseline


def test_an_equal_cross_entropy_passes_and_a_close_one_is_inconclusive(tmp_path):
    random = np.random.default_rng(1)
    noise = random.normal(0, 0.02, (2, *SAME.shape)).astype(np.float32)
    before, after = {"onnx.w8a8": SAME + noise[0]}, {"onnx.w8a8": SAME + noise[1]}
    gates = ({"cross_entropy": {}}, {"cross_entropy": {"max_increase": 0, "detect": 0.0001}})
    first, second = judged(tmp_path, before, after, settings(*gates), work=2).outcomes
    assert first.verdict == "pass" and second.verdict == "inconclusive" and "clips" in second.needed


def test_scores_of_clips_that_are_not_finite_fail(tmp_path):
    after = SAME.copy()
    after[3, 1] = np.inf
    (outcome,) = judged(
        tmp_path, {"onnx.w8a8": SAME}, {"onnx.w8a8": after}, settings({"cross_entropy": {}}), work=2
    ).outcomes
    assert outcome.verdict == "fail" and "undefined for 1 clips of this run" in outcome.reason


def test_scores_are_those_of_their_definition():
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 3.0, 3.0]], np.float32)
    truth = np.array([0, 1])
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert cross_entropy(logits, truth) == pytest.approx(-np.log(chances[[0, 1], truth]), rel=1e-5)
    assert margin(logits, truth) == pytest.approx([chances[0, 0] - chances[0, 1], 0], abs=1e-6)


def test_the_same_file_with_the_same_answers_passes_whatever_the_number_of_clips(tmp_path):
    few = {"onnx.w8a8": logits_of(truth_of(6)), "torch.w8a8": logits_of(truth_of(6))}
    judgement = judged(tmp_path, few, few, settings({"accuracy": {}}, {"accuracy": {"files": "torch.*"}}))
    assert [one.verdict for one in judgement.outcomes] == ["pass", "pass"]
    assert "the file and its answers are those of the baseline" in judgement.outcomes[0].reason


def test_another_file_with_the_same_few_answers_is_inconclusive(tmp_path):
    few = {"onnx.w8a8": logits_of(truth_of(6))}
    (outcome,) = judged(tmp_path, few, few, settings({"accuracy": {}}), work=2).outcomes
    assert outcome.verdict == "inconclusive"


def test_networks_are_compared_only_by_name(tmp_path):
    both = {"onnx.w8a8": SAME, "torch.w8a8": SAME}
    lost = {**both, "torch.w8a8": logits_of(TRUTH, range(60))}
    gates = ({"accuracy": {}}, {"accuracy": {"files": "torch.*"}})
    first, second = judged(tmp_path, both, lost, settings(*gates)).outcomes
    assert (first.figure, first.verdict) == ("files.onnx.w8a8.label", "pass")
    assert (second.figure, second.verdict) == ("torch.w8a8.label", "fail")


def test_label_columns_are_chosen_by_pattern(tmp_path):
    spec = small_spec("text", labels=("word", "place"))
    same = {"onnx.w8a8": SAME}
    judgement = judged(
        tmp_path, same, same, settings({"accuracy": {"labels": "wo*"}}), spec=spec, earlier={"spec": spec}
    )
    assert [one.figure for one in judgement.outcomes] == ["files.onnx.w8a8.word"]


def test_a_file_that_is_missing_fails_and_a_new_one_is_inconclusive(tmp_path):
    before, after = {"onnx.w8a8": SAME}, {"onnx.fp32": SAME}
    gates = ({"accuracy": {}}, {"latency": {}}, {"figure": {"path": "*size_bytes", "max_increase": 0}})
    outcomes = judged(tmp_path, before, after, settings(*gates)).outcomes
    by_figure = {(one.gate, one.figure): one for one in outcomes}
    assert len(by_figure) == 6
    for (_, figure), one in by_figure.items():
        assert one.verdict == ("fail" if "w8a8" in figure else "inconclusive")
        assert one.needed == (None if "w8a8" in figure else "a baseline with it: --update-baseline")


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (
            {"accuracy": {"files": "onx.*"}},
            r"gates.0.accuracy.files: nothing matches 'onx.\*'.*known are onnx.w8a8",
        ),
        ({"accuracy": {"labels": "lable"}}, "did you mean 'label'"),
        ({"latency": {"files": "tflite.*"}}, "gates.0.latency.files: nothing matches"),
        (
            {"figure": {"path": "files.*.*.sise_bytes", "max_increase": 1}},
            "did you mean 'files.onnx.w8a8.size_bytes'",
        ),
    ],
)
def test_a_gate_that_matches_nothing_is_refused(tmp_path, gate, message):
    with pytest.raises(ValueError, match=message):
        judged(tmp_path, {"onnx.w8a8": SAME}, {"onnx.w8a8": SAME}, settings(gate))


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [
        ({"max_increase": "2 %"}, "fail"),
        ({"max_increase": "1000 %"}, "pass"),
        ({"max_increase": 10}, "fail"),
        ({"max_decrease": 0}, "pass"),
    ],
)
def test_sizes_have_plain_limits(tmp_path, limit, verdict):
    same = {"onnx.w8a8": SAME}
    gate = {"figure": {"path": "files.*.*.size_bytes", **limit}}
    (outcome,) = judged(tmp_path, same, same, settings(gate), work=400).outcomes
    assert outcome.verdict == verdict and outcome.value > outcome.baseline


def test_a_lost_coverage_fails(tmp_path):
    same = {"onnx.w8a8": SAME}
    gate = {"figure": {"path": "files.*.*.coverage", "max_decrease": 0.01}}
    (outcome,) = judged(tmp_path, same, same, settings(gate), coverage=0.9).outcomes
    assert outcome.verdict == "fail"
    assert outcome.reason == "1 -> 0.9 (-10.0 %); allowed is a decrease of 0.01"


def test_any_figure_of_the_report_can_be_compared(tmp_path):
    same = {"onnx.w8a8": SAME}
    paths = [
        *("files.onnx.w8a8.top1", "files.onnx.w8a8.parity.sqnr_db", "files.onnx.w8a8.host.p90_ms"),
        *("models.student_float.macs", "stages.0.seconds", "robustness.teacher.class.mean"),
    ]
    gates = [{"figure": {"path": path, "max_increase": 0, "max_decrease": 0}} for path in paths]
    outcomes = judged(tmp_path, same, same, settings(*gates)).outcomes
    assert [(one.figure, one.verdict) for one in outcomes] == [(path, "pass") for path in paths]


def test_inconclusive_outcomes_stop_a_change_or_not_as_set(tmp_path):
    few = {"onnx.w8a8": logits_of(truth_of(6))}
    strict = judged(tmp_path / "a", few, few, settings({"accuracy": {}}), work=2)
    lenient = judged(tmp_path / "b", few, few, settings({"accuracy": {}}, inconclusive="pass"), work=2)
    assert not strict.passed and lenient.passed
    assert strict.headline() == "0 pass, 0 fail, 1 inconclusive (counted as fail)"
    assert lenient.headline() == "0 pass, 0 fail, 1 inconclusive (counted as pass)"


def test_what_the_clips_can_find_is_said_before_any_verdict(tmp_path):
    before, after = {"onnx.w8a8": SAME}, {"onnx.w8a8": logits_of(TRUTH, [*range(38), 100, 101])}
    judgement = judged(tmp_path, before, after, settings({"accuracy": {}}), work=2)
    assert judgement.detectable == (
        "400 clips: the smallest drop of top-1 that is found with probability 0.8 is 1.4 points at 1% flips, "
        "2.1 points at 3% flips, 2.7 points at 5% flips",
        "onnx.w8a8, label: 4 flips (1.0%): 1.4 points",
    )


def test_notes_name_the_joint_error_rate_and_another_environment(tmp_path):
    same = {"onnx.w8a8": SAME}
    gates = ({"accuracy": {}}, {"cross_entropy": {}})
    notes = judged(tmp_path, same, same, settings(*gates), environment="Darwin").notes
    assert "together they fail a change without effect with probability 0.1 at most" in notes[0]
    assert notes[1] == "the environment of the baseline differs: system Linux -> Darwin"
