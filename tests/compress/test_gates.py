"""Gates: the figure of a metric, and its verdict."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from compress.gates import GateConfig, evaluate_gates, gates_hold, metric_names
from tests.reports import ON_A_MAC, realistic_report


def judged(report: Any = None, **gate: Any) -> list[Any]:
    return list(evaluate_gates([GateConfig(**gate)], report or realistic_report()))


@pytest.mark.parametrize(
    ("gate", "value", "verdict"),
    [
        ({"metric": "files.onnx.w8a8.top1", "min": 0.9}, 0.9292, "passed"),
        ({"metric": "files.onnx.w8a8.top1", "min": 0.95}, 0.9292, "failed"),
        ({"metric": "files.onnx.w8a8.top1", "min": 0.9292}, 0.9292, "passed"),
        ({"metric": "files.tflite.w8a8.top1_drop_pp", "max": 0.5}, 0.41, "passed"),
        ({"metric": "files.tflite.w8a8.top1_drop_pp", "max": 0.4}, 0.41, "failed"),
        ({"metric": "files.onnx.w8a8.size_bytes", "max": 412_000}, 412_000, "passed"),
        ({"metric": "files.executorch.w8a8.host.p50_ms", "max": 1.0}, 1.42, "failed"),
        ({"metric": "files.executorch.w8a8.host.peak_rss_bytes", "max": 1e9}, 61e6, "passed"),
        ({"metric": "files.onnx.w8a8.top1_agreement", "min": 0.98}, 0.9917, "passed"),
        ({"metric": "files.onnx.w8a8.sqnr_db", "min": 30}, 31.4, "passed"),
        ({"metric": "models.teacher.top1", "min": 0.95}, 0.9812, "passed"),
        ({"metric": "models.student_float.macs", "max": 30e6}, 33.4e6, "failed"),
        ({"metric": "stages.1.after.macs", "max": 40e6}, 33.4e6, "passed"),
        ({"metric": "stages.0.before.top1", "min": 0.1}, 0.125, "passed"),
        ({"metric": "stages.2.seconds", "max": 5}, 6.2, "failed"),
    ],
)
def test_a_gate_judges_the_figure_that_it_names(gate: dict[str, Any], value: float, verdict: str) -> None:
    (result,) = judged(**gate)
    assert result["metric"] == gate["metric"]
    assert result["value"] == pytest.approx(value)
    assert result["verdict"] == verdict
    assert result["allowed"] == (verdict == "passed")
    assert gates_hold([result]) == (verdict == "passed")


def test_a_gate_over_all_formats_gives_a_verdict_for_each() -> None:
    results = judged(metric="files.*.w8a8.top1_drop_pp", max=0.3)
    assert [(one["metric"].split(".")[1], one["verdict"]) for one in results] == [
        ("onnx", "passed"),
        ("tflite", "failed"),
        ("executorch", "passed"),
        ("coreml", "unmeasured"),
    ]


def test_a_star_stands_for_every_format_scheme_or_device() -> None:
    report = realistic_report()
    fp32 = copy.deepcopy(report["files"][0]) | {"scheme": "fp32"}
    board = {**fp32["latency"][0], "device": "board", "p50_ms": 9.0}
    report["files"] = [fp32 | {"latency": [*fp32["latency"], board]}, report["files"][0]]
    found = judged(report, metric="files.onnx.*.*.p50_ms", max=5)
    assert [(one["metric"], one["verdict"]) for one in found] == [
        ("files.onnx.fp32.host.p50_ms", "passed"),
        ("files.onnx.fp32.board.p50_ms", "failed"),
        ("files.onnx.w8a8.host.p50_ms", "passed"),
    ]
    (one,) = judged(report, metric="files.*.w8a8.host.p50_ms", max=5)
    assert one["metric"] == "files.onnx.w8a8.host.p50_ms"
    (missing,) = judged(report, metric="files.onnx.w8a8.board.p50_ms", max=5)
    assert missing["reason"] == "the onnx.w8a8 file was not measured on board"
    (missing,) = judged(report, metric="files.coreml.w4.top1", max=5)
    assert missing["reason"] == "the run wrote no coreml w4 file"


def test_accuracy_on_a_device_is_that_of_the_device() -> None:
    report = realistic_report()
    (file,) = report["files"] = report["files"][:1]
    file["latency"].append({**file["latency"][0], "device": "board"})
    lost = {
        "accuracy": {**file["accuracy"], "top1": 0.5},
        "parity": {**file["parity"], "top1_agreement": 0.6},
    }
    file["elsewhere"] = [{"device": "board", **lost}]
    found = judged(report, metric="files.onnx.w8a8.*.top1", min=0.9)
    assert [(one["metric"], one["value"], one["verdict"]) for one in found] == [
        ("files.onnx.w8a8.host.top1", file["accuracy"]["top1"], "passed"),
        ("files.onnx.w8a8.board.top1", 0.5, "failed"),
    ]
    (one,) = judged(report, metric="files.onnx.w8a8.board.top1_agreement", min=0.9)
    assert (one["value"], one["verdict"]) == (0.6, "failed")
    (one,) = judged(report, metric="files.onnx.w8a8.top1", min=0.9)
    assert one["verdict"] == "passed", "without a device, the first"
    (drop,) = judged(report, metric="files.onnx.w8a8.board.top1_drop_pp", max=1)
    assert drop["value"] == pytest.approx(100 * (report["models"]["student_float"]["top1"] - 0.5))
    (missing,) = judged(report, metric="files.onnx.w8a8.phone.top1", min=0.9)
    assert missing["reason"] == "the onnx.w8a8 file was not measured on phone"


def test_what_int8_gains_is_a_figure_of_the_device() -> None:
    report = realistic_report()
    report["files"][0]["latency"][0]["ratio_to_fp32"] = 0.8
    (held,) = judged(report, metric="files.onnx.w8a8.host.ratio_to_fp32", max=0.9)
    assert (held["verdict"], held["value"]) == ("passed", 0.8)
    (missing,) = judged(report, metric="files.tflite.w8a8.host.ratio_to_fp32", max=0.9)
    assert "no fp32 file was measured" in missing["reason"]


def test_what_was_not_measured_fails_and_says_why() -> None:
    (result,) = judged(metric="files.coreml.w8a8.top1", min=0.1)
    assert (result["verdict"], result["value"], result["reason"]) == ("unmeasured", None, ON_A_MAC)
    assert not gates_hold([result])


def test_what_was_not_measured_may_be_allowed() -> None:
    (result,) = judged(metric="files.coreml.w8a8.host.p50_ms", max=5, unmeasured="allow")
    assert result["verdict"] == "unmeasured"
    assert gates_hold([result])


def test_a_failed_gate_is_not_excused_by_allowing_the_unmeasured() -> None:
    assert not gates_hold(judged(metric="files.onnx.w8a8.top1", min=0.99, unmeasured="allow"))


def test_nan_is_no_measurement() -> None:
    report = realistic_report()
    report["files"][0]["accuracy"]["top1"] = math.nan
    assert [one["verdict"] for one in judged(report, metric="files.onnx.w8a8.top1", min=0)] == ["unmeasured"]
    assert [one["verdict"] for one in judged(report, metric="files.onnx.w8a8.top1_drop_pp", max=9)] == [
        "unmeasured"
    ]


def test_a_file_that_was_not_written_is_unmeasured_with_its_reason() -> None:
    report = realistic_report()
    failed = report["files"][0]
    failed.update(status="failed", reason="the converter crashed", size_bytes=None, latency=[])
    (result,) = judged(report, metric="files.onnx.w8a8.size_bytes", max=1)
    assert result["reason"] == "the converter crashed"
    (result,) = judged(report, metric="files.onnx.w8a8.host.p50_ms", max=1)
    assert result["reason"] == "the converter crashed"


def test_a_model_that_the_run_lacks_is_unmeasured() -> None:
    report = realistic_report()
    report["models"]["student_quantized"] = None
    (result,) = judged(report, metric="models.student_quantized.top1", min=0.5)
    assert (result["verdict"], result["reason"]) == ("unmeasured", "the run has no student_quantized")


def test_every_label_column_is_judged_unless_one_is_named() -> None:
    report = realistic_report()
    report["models"]["student_float"]["top1"] = {"word": 0.9, "slot": 0.8}  # type: ignore[index]
    report["files"][0]["accuracy"]["top1"] = {"word": 0.88, "slot": 0.8}
    results = judged(report, metric="files.onnx.w8a8.top1_drop_pp", max=1)
    assert [(one["metric"], one["verdict"]) for one in results] == [
        ("files.onnx.w8a8.top1_drop_pp.word", "failed"),
        ("files.onnx.w8a8.top1_drop_pp.slot", "passed"),
    ]
    (result,) = judged(report, metric="files.onnx.w8a8.top1.slot", min=0.8)
    assert (result["metric"], result["value"]) == ("files.onnx.w8a8.top1.slot", 0.8)
    (result,) = judged(report, metric="files.onnx.w8a8.top1.letter", min=0.8)
    assert result["reason"] == "no label column 'letter'; available: word, slot"


def test_every_metric_that_a_recipe_may_name_is_found_in_realistic_report() -> None:
    report = realistic_report()
    models = ("teacher", "student_labels_only", "student_float", "student_quantized")
    for file in report["files"]:
        file["latency"][0]["ratio_to_fp32"] = 0.9
    files = (("onnx", "w8a8"), ("tflite", "w8a8"))
    names = metric_names(files=files, devices=("host",), models=dict.fromkeys(models, ()), stages=2)
    assert len(names) == len(set(names))
    for name in names:
        for result in judged(report, metric=name, max=1, unmeasured="allow"):
            assert result["value"] is not None or "coreml" in result["metric"], name


@pytest.mark.parametrize("limits", [{}, {"min": 1, "max": 2}])
def test_a_gate_has_exactly_one_limit(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a gate has exactly one limit: min or max"):
        GateConfig(metric="files.onnx.w8a8.top1", **limits)  # type: ignore[arg-type]
