"""Reports of earlier versions: read as reports of this one."""

from __future__ import annotations

import json

import pytest

from compress.report.read import read_report
from tests.reports import realistic_report


def of_schema_1() -> dict:
    """A report as version 1 wrote it: files are known by their format alone."""
    report = dict(realistic_report())
    report["artifacts"] = report.pop("files")
    report["schema_version"] = 1
    gate = {"limit": 1, "value": 0.4, "verdict": "passed", "bound": "max", "allowed": True}
    metrics = ("artifacts.onnx.top1_drop_pp", "artifacts.tflite.p50_ms", "models.teacher.top1")
    report["gates"] = [{**gate, "metric": metric} for metric in metrics]
    row = {"label": "label", "clean": 0.9, "mean": 0.8}
    rows = [{**row, "name": name} for name in ("teacher", "onnx")]
    report["robustness"] = {"clips": 4, "corruptions": [], "severities": [1], "rows": rows}
    report["warnings"] = [
        {"path": path, "label": "label", "message": "at chance"}
        for path in ("artifacts.onnx", "models.teacher")
    ]
    return report


def test_a_report_of_schema_1_is_read_as_one_of_today(tmp_path):
    path, old = tmp_path / "report.json", of_schema_1()
    path.write_text(json.dumps(old))
    report = read_report(path)
    assert report["schema_version"] == 2 and "artifacts" not in report
    assert {file["scheme"] for file in report["files"]} == {"w8a8"}
    assert [gate["metric"] for gate in report["gates"]] == [
        "files.onnx.w8a8.top1_drop_pp",
        "files.tflite.w8a8.host.p50_ms",
        "models.teacher.top1",
    ]
    assert [row["name"] for row in report["robustness"]["rows"]] == ["teacher", "onnx.w8a8"]
    assert [one["path"] for one in report["warnings"]] == ["files.onnx.w8a8", "models.teacher"]
    assert report["models"] == json.loads(path.read_text())["models"]


def test_a_report_of_today_is_left_as_it_is(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps(realistic_report()))
    assert read_report(path) == json.loads(path.read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "schema_version is None; this version of Pocketreel reads 1 to 2"),
        ('{"schema_version": 3}', "schema_version is 3; this version of Pocketreel reads 1 to 2"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, content, message):
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_report(tmp_path / "report.json")
