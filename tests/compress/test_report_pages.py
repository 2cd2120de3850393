"""Pages of unlike runs: complete, well-formed, within their limits, and safe with any name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from compress.quantized_models import quantized_names
from compress.report import write_report
from compress.report.classes import shown_clips
from compress.report.files import disturbed
from compress.report.headline import fell_back, headline, unmeasured
from compress.report.key_figures import key_figures
from compress.report.ladder import ladder
from compress.report.page import page
from compress.report.plots import latency_plot
from compress.report.samples import jpeg
from compress.report.tradeoff import Point, pareto_front, tradeoff
from compress.report.wording import short
from compress.report.write import LONGEST_MARKDOWN, fitted
from compress.report_shape import Report
from compress.studies.generate_docs import report_schema
from tests import report_cases
from tests.compress.test_report import Page

CASES = {
    name: getattr(report_cases, name)
    for name in (
        "several_devices",
        "five_columns",
        "many_classes",
        "hostile_names",
        "failed_format",
        "streaming",
    )
}
PICTURE = jpeg(np.full((16, 48, 3), 128, dtype=np.uint8))


@pytest.fixture(scope="module", params=CASES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    report = CASES[request.param]()
    write_report(report, folder, pictures=dict.fromkeys(shown_clips(report), PICTURE))
    return folder


def test_the_pages_are_well_formed_and_follow_the_schema(written: Path) -> None:
    jsonschema.validate(json.loads((written / "report.json").read_text()), report_schema())
    html = (written / "report.html").read_text()
    page = Page(html)
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.addresses) and page.addresses
    assert re.findall(r"<img [^>]*alt=\"\"|<svg (?![^>]*(?:aria-label|aria-hidden))", html) == []


def test_wide_tables_scroll_and_others_name_their_cells_on_a_phone(written: Path) -> None:
    html = (written / "report.html").read_text()
    for table in re.finditer(r'<table class="([^"]*)">(.*?)</table>', html, re.DOTALL):
        before = html[: table.start()].rstrip()
        if "dense" in table[1] and not re.search("legend|after", table[1]):
            assert re.search(
                r'<div class="scroll" tabindex="0" role="region" aria-label="[^"]+">$', before
            ), before[-200:]
        elif "dense" not in table[1]:
            cells = re.findall(r"<td(?![^>]*colspan)([^>]*)>(?!</td>)", table[2])
            assert all("data-name=" in cell for cell in cells), table[0][:500]


def test_tables_of_the_markdown_are_tables(written: Path) -> None:
    markdown = (written / "report.md").read_text()
    assert len(markdown) <= LONGEST_MARKDOWN
    prose = re.sub(r"`+[^`\n]*`+", "", markdown)
    tables = re.findall(r"(?m)(?:^\|.*\n)+", prose)
    assert len(tables) >= 5
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
        assert re.match(r"\|(---\|)+$", table.splitlines()[1]), table


def test_200_classes_in_5_columns_fit_into_a_comment(tmp_path: Path) -> None:
    report = report_cases.many_classes(5)
    report["recipe"]["data"] = {"exclude": [f"action number {at}" for at in range(4000)]}
    write_report(report, tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert 20_000 < len(markdown) <= LONGEST_MARKDOWN
    assert markdown.rstrip().endswith("are in report.html: Recipe.")
    assert "## Environment" in markdown and "```" not in markdown.partition("## Recipe")[2]


def test_only_what_does_not_fit_is_left_out() -> None:
    long = "x\n" * LONGEST_MARKDOWN
    text = fitted(f"# name\n\n## A\n\nkept\n\n## B\n\n{long}\n## C\n\nalso kept\n")
    assert "kept" in text and "also kept" in text and text.endswith("report.html: B.\n")
    assert fitted("## A\n") == "## A\n"


def test_a_device_that_died_costs_its_own_figures() -> None:
    report = report_cases.several_devices()
    assert headline(report)[0].endswith("; could not be used: phone")
    tiles = {tile["title"]: tile for tile in key_figures(report)}
    assert tiles["p50 / p90 on phone"]["value"] == "not measured"
    assert tiles["p50 / p90 on board"]["value"] == "3.85 / 4.24 ms"
    assert tiles["Fell back, failed or missing"]["note"] == (
        "figures of 1 file not measured (coreml.w8a8); could not be used: phone"
    )
    assert (
        "Top-1 on phone, latency on phone of onnx.fp32, onnx.w8a8, tflite.fp32, tflite.w8a8, "
        "executorch.fp32, executorch.w8a8",
        report_cases.DEAD,
    ) in unmeasured(report)
    panels = tradeoff(report)
    assert panels is not None and [panel["device"] for panel in panels["panels"]] == ["host", "board"]


def test_every_quantize_stage_has_a_row(tmp_path: Path) -> None:
    report = report_cases.report_of()
    last = report["models"]["student_quantized"]
    assert last is not None
    for scheme in ("w8a8", "w4"):
        report["models"][f"student_quantized_{scheme}"] = last  # type: ignore[literal-required]
    stage = next(one for one in report["stages"] if one["name"] == "quantize")
    others = [one for one in report["stages"] if one is not stage]
    report["stages"] = [*others, *({**stage, "config": {"scheme": one}} for one in ("w8a8", "w4"))]
    content = page(report)
    titles = ["Student", "Student, w8a8 (torch)", "Student, w4 (torch)"]
    assert [one["title"] for one in content["models"]][-3:] == titles
    assert [row["name"] for row in content["accuracy_plots"][0]["rows"]][2:5] == titles
    steps = [row["name"] for row in content["ladder"]["rows"]]
    assert [one for one in steps if "quantize" in one] == ["after quantize w8a8", "after quantize w4"]
    assert [one["name"] for one in content["stages"]][-2:] == ["quantize w8a8", "quantize w4"]
    write_report(report, tmp_path)
    jsonschema.validate(json.loads((tmp_path / "report.json").read_text()), report_schema())


def test_names_of_quantized_networks() -> None:
    assert quantized_names([]) == []
    assert quantized_names(["w4"]) == ["student_quantized"]
    assert quantized_names(["w8a8", "w4"]) == ["student_quantized_w8a8", "student_quantized_w4"]


def test_the_reason_of_a_lost_device_stands_in_the_environment(tmp_path: Path) -> None:
    write_report(report_cases.several_devices(), tmp_path)
    text = Page((tmp_path / "report.html").read_text()).text
    assert f"Device phone could not be used: {report_cases.DEAD}" in text
    assert "load average over 1 min 7.98" in text


def test_what_fell_back_names_operators_share_and_reason() -> None:
    report = report_cases.failed_format()
    (row,) = fell_back(report)
    assert row == {
        "file": "executorch.w8a8",
        "operator": "aten.convolution",
        "reason": "a kernel of 3 x 3 x 3 has no fast form",
        "count": 8,
        "nodes": "conv_0, conv_1, conv_2 and 5 more",
        "share": "24.0 %",
    }
    tiles = {tile["title"]: tile for tile in key_figures(report)}
    assert tiles["In fast kernels"]["value"] == "62.0 %"
    assert tiles["Fell back, failed or missing"]["value"] == "4 files"
    assert tiles["Fell back, failed or missing"]["note"] == (
        "2 files failed (onnx.w8a8, tflite.w8a8); 8 operators in executorch.w8a8; "
        "figures of 1 file not measured (coreml.w8a8)"
    )


def test_the_drop_stands_with_its_significance() -> None:
    tiles = {tile["title"]: tile for tile in key_figures(report_cases.report_of())}
    drop = tiles["Largest drop on your clips"]
    assert drop["value"] == "−2.3 points"
    assert drop["note"] == "tflite.w8a8: 11 lost and 0 won of 480 clips; worse (p < 0.001)"
    assert "chance level 15.0 %" in tiles["Top-1"]["note"]
    assert tiles["p50 / p90 on host"]["warning"] == "busy machine: load average 8.0 on 4 cores"


@pytest.mark.parametrize(
    ("p90_ms", "description", "said"),
    [
        (1.1, {"load_1min": 0.5, "cores": 2}, ""),
        (1.1, None, ""),
        (2.0, {"load_1min": 0.5, "cores": 2}, "busy machine: p90 is 2.0 times the median"),
        (1.1, {"load_1min": 3.5, "cores": 2}, "busy machine: load average 3.5 on 2 cores"),
    ],
)
def test_a_busy_machine_is_said_beside_milliseconds(p90_ms: float, description: dict, said: str) -> None:
    assert disturbed({"p50_ms": 1.0, "p90_ms": p90_ms}, description) == said  # type: ignore[typeddict-item]


def test_a_step_program_has_size_and_latency(tmp_path: Path) -> None:
    write_report(report_cases.streaming(), tmp_path)
    text = Page((tmp_path / "report.html").read_text()).text
    assert "onnx.fp32, new frame step program, 91.0 kB, 100 % in fast kernels 0.31 ms" in text
    assert "5.9x as fast as the clip [5.7, 6.2]" in text
    assert "tflite.fp32, new frame step program, in the same file" in text


def test_the_ladder_leads_from_the_teacher_to_the_files() -> None:
    found = ladder(report_cases.report_of())
    assert found is not None
    names = [row["name"] for row in found["rows"]]
    assert names[:5] == ["Teacher", "Student, labels alone", "after distill", "after prune", "after quantize"]
    assert names[5:] == [
        f"{form}.{scheme}" for form in report_cases.RUNTIMES for scheme in ("fp32", "w8a8")
    ] + ["coreml.w8a8"]
    teacher, *_, core_ml = found["rows"]
    assert [cell["text"] for cell in teacher["cells"]] == ["99.6 %", "412 M", "4.96 MB", "–"]
    assert [cell["width"] for cell in teacher["cells"]][1:] == [100.0, 100.0, 0.0]
    assert [cell["text"] for cell in core_ml["cells"]] == ["–", "–", "566 kB", "–"]


def test_the_front_has_no_file_that_another_beats() -> None:
    points = [Point("A", "a", 1.0, 0.8), Point("B", "b", 2.0, 0.9), Point("C", "c", 2.5, 0.85)]
    points += [Point("D", "d", 1.0, 0.7), Point("E", "e", 3.0, 0.9)]
    assert [one.code for one in pareto_front(points)] == ["A", "B"]


def test_the_99th_percentile_is_in_the_band_or_written() -> None:
    plot = latency_plot(report_cases.report_of()["files"])
    assert plot is not None
    for row in plot["rows"]:
        assert bool(row["far"]) == (row["low"] + row["width"] >= 100 and row["far"] != "")
        assert len(row["rounds"]) == 30
    assert [row["far"] for row in plot["rows"][:2]] == ["p99 4.34 ms", "p99 10.8 ms"]


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_names_of_users_cannot_change_the_page(tmp_path: Path, name: str) -> None:
    write_report(report_cases.hostile_names(), tmp_path)
    text = (tmp_path / name).read_text()
    text = re.sub(r"(?ms)^## Recipe.*|<pre>.*?</pre>", "", text)
    assert "<script>" not in text and "\u202e" not in text and "n" * 60 not in text
    assert name == "report.html" or "](http" not in text.replace(r"\](http", "")
    assert r"\u202eright to left" in text.replace("\\\\", "\\")


@pytest.mark.parametrize(
    ("name", "shown"),
    [("left", "left"), ("", "(empty)"), ("a\nb", "a\\u000ab"), ("\u202eabc", "\\u202eabc")],
)
def test_names_are_on_one_line(name: str, shown: str) -> None:
    assert short(name) == shown


def test_long_names_are_shortened_in_the_middle() -> None:
    assert short("a" * 50 + "z") == "a" * 20 + "…" + "a" * 18 + "z"
    assert len(short("a" * 300)) == 40


@pytest.mark.parametrize("case", [report_cases.several_devices, report_cases.report_of])
def test_gates_that_need_a_decision_come_first(tmp_path: Path, case: Callable[[], Report]) -> None:
    report = case()
    gate = {"limit": 1.0, "value": 0.5, "bound": "max", "allowed": True}
    report["gates"] = [
        {**gate, "metric": f"files.onnx.fp32.{name}", "verdict": verdict}  # type: ignore[typeddict-item]
        for name, verdict in (("a", "passed"), ("b", "unmeasured"), ("c", "failed"))
    ]
    write_report(report, tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert text.index("fp32.c") < text.index("fp32.b") < text.index("fp32.a")
