"""Paired changes, per-class figures, flips and agreement of a report."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compress.report.classes import agreement, class_sections, shown_clips
from compress.report.files import verdict
from compress.report.predictions import STUDENT, Column, changes, compare_predictions
from compress.report.significance import exchange_p, paired_change
from tests.report_cases import many_classes, report_of


def logits(*predicted: int, classes: int = 3) -> np.ndarray:
    """Logits whose largest is at these classes."""
    return 5.0 * np.eye(classes)[list(predicted)]


def column(**files: np.ndarray) -> Column:
    return Column(
        classes=("left", "right", "up"),
        truth=np.array([0, 0, 1, 1, 2]),
        clips=[f"{name}.mp4" for name in "abcde"],
        videos=list("abcde"),
        networks={STUDENT: logits(0, 0, 1, 1, 0)},
        files={name.replace("_", "."): values for name, values in files.items()},
    )


@pytest.mark.parametrize("totals", [[1, 1, 1, -1], [2, -1, 1], [3, 1, 1, -2], [1, -1], [4]])
def test_the_p_value_is_that_of_all_sign_changes(totals: list[int]) -> None:
    observed = abs(sum(totals))
    sums = [abs(np.dot(signs, totals)) for signs in itertools.product((-1, 1), repeat=len(totals))]
    above, equal = np.mean([one > observed for one in sums]), np.mean([one == observed for one in sums])
    expected = above + (equal / 2 if observed else equal)
    assert exchange_p(np.array(totals)) == pytest.approx(expected)


def test_one_clip_per_video_is_the_mid_p_mcnemar_test() -> None:
    from scipy.stats import binom

    before = np.array([1] * 12 + [0] * 3 + [1] * 85, dtype=bool)
    after = np.array([0] * 12 + [1] * 3 + [1] * 85, dtype=bool)
    found = paired_change(before, after, videos=[str(at) for at in range(100)])
    assert (found["lost"], found["won"], found["change_pp"]) == (12, 3, -9.0)
    assert found["p"] == pytest.approx(2 * binom.cdf(3, 15, 0.5) - binom.pmf(3, 15, 0.5))
    low, high = found["ci95_pp"]
    assert low < -9 < high < 0 and verdict(found) == "worse (p 0.021)"


def test_clips_of_one_video_count_together() -> None:
    before, after = np.ones(60, dtype=bool), np.ones(60, dtype=bool)
    after[:10] = False
    apart = paired_change(before, after, videos=[str(at) for at in range(60)])
    together = paired_change(before, after, videos=[str(at // 10) for at in range(60)])
    assert apart["p"] < 0.01 and together["p"] == pytest.approx(0.5)
    assert together["ci95_pp"][0] < apart["ci95_pp"][0]
    assert verdict(together) == "not significant (p 0.5)"


def test_without_a_flip_every_video_counts_as_one_clip() -> None:
    same = np.ones(60, dtype=bool)
    apart = paired_change(same, same, videos=[str(at) for at in range(60)])
    together = paired_change(same, same, videos=[str(at // 10) for at in range(60)])
    assert together["ci95_pp"][1] == pytest.approx(10**0.5 * apart["ci95_pp"][1])


def test_the_interval_covers_no_change_in_95_percent_of_samples() -> None:
    random, covered = np.random.default_rng(0), 0
    for _ in range(400):
        draws = random.random(200)
        before, after = draws >= 0.06, (draws < 0.06) | (draws >= 0.12)
        low, high = paired_change(before, after, videos=[str(at) for at in range(200)])["ci95_pp"]
        covered += low <= 0 <= high
    assert covered >= 370


def test_figures_of_classes_follow_from_the_predictions() -> None:
    found = compare_predictions(column(onnx_fp32=logits(0, 0, 1, 1, 0), onnx_w8a8=logits(0, 1, 1, 1, 2)))
    assert found["clips_per_class"] == [2, 2, 1]
    assert found["chance"] == {"share": 0.4, "prediction": "left"}
    assert found["examined"] == "onnx.w8a8"
    assert found["recall"][STUDENT] == [1.0, 1.0, 0.0] and found["recall"]["onnx.w8a8"] == [0.5, 1.0, 1.0]
    assert found["confusions"] == [(0, 1, 1)]
    assert [one["clip"] for one in found["flips"]] == ["b.mp4", "e.mp4"] and found["flipped"] == 2
    assert found["flips"][0]["predictions"] == {STUDENT: "left", "onnx.fp32": "left", "onnx.w8a8": "right"}
    (mistake,) = found["mistakes"]
    assert mistake["clip"] == "b.mp4" and mistake["probability"] == pytest.approx(0.987, abs=0.001)
    assert found["agreement"]["names"] == [STUDENT, "onnx.fp32", "onnx.w8a8"]
    assert found["agreement"]["shares"] == [[1.0, 1.0, 0.6], [1.0, 1.0, 0.6], [0.6, 0.6, 1.0]]


def test_changes_are_those_from_the_float_student() -> None:
    found = changes(column(onnx_w8a8=logits(1, 1, 1, 1, 2)))
    assert (found["onnx.w8a8"]["lost"], found["onnx.w8a8"]["won"]) == (2, 1)
    assert found["onnx.w8a8"]["change_pp"] == pytest.approx(-20)


def test_a_clip_with_non_finite_logits_is_wrong_and_has_no_prediction() -> None:
    broken = logits(0, 0, 1, 1, 2)
    broken[0] = np.nan
    found = compare_predictions(column(onnx_w8a8=broken))
    assert found["recall"]["onnx.w8a8"] == [0.5, 1.0, 1.0] and found["confusions"] == []
    assert found["flips"][0]["predictions"]["onnx.w8a8"] is None
    (section,) = class_sections(
        {**report_of(), "predictions": {"x": found}, "data": {"classes": {"x": ["left", "right", "up"]}}}  # type: ignore[typeddict-item]
    )
    assert {"said": "non-finite logits", "right": False, "names": "onnx.w8a8"} in section["flips"][0][
        "predictions"
    ]


def test_files_that_always_agree_share_a_row() -> None:
    shares = [[1.0, 1.0, 0.9996], [1.0, 1.0, 0.9996], [0.9996, 0.9996, 1.0]]
    found = agreement({"names": [STUDENT, "onnx.fp32", "onnx.w8a8"], "shares": shares})
    assert found is not None
    assert [row["names"] for row in found["rows"]] == ["Student, onnx.fp32", "onnx.w8a8"]
    # Less than complete agreement never looks complete.
    assert [cell["text"] for cell in found["rows"][0]["cells"]] == ["–", "99.9"]


def test_of_200_classes_the_most_changed_come_first() -> None:
    report = many_classes()
    (section,) = class_sections(report)
    assert (
        len(section["classes"]) == 12 and len(section["other_classes"]) + 12 + section["without_clips"] == 200
    )
    assert section["matrix"] is None and section["confusions"]
    lost = [
        round(abs(float(one["change"].replace("−", "-"))) * one["clips"] / 100) for one in section["classes"]
    ]
    assert lost == sorted(lost, reverse=True) and lost[0] > lost[-1] > 0
    assert len(shown_clips(report)) <= 12
