"""The three report files: content, self-containment, and reasons for missing figures."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest

from compress import figures
from compress.gates import GateConfig, evaluate_gates
from compress.report import Report, Sample, did_not_run, write_report
from compress.report.page import headline
from compress.report.plots import accuracy_plots, curves, latency_plot
from compress.studies.generate_docs import report_schema
from tests.reports import ON_A_MAC, artifact, realistic_report

# A 1 x 1 picture.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


def with_gates(report: Report, *gates: GateConfig) -> Report:
    report["gates"] = evaluate_gates(gates, report)
    return report


def gated() -> Report:
    return with_gates(
        realistic_report(),
        GateConfig(metric="files.*.w8a8.top1_drop_pp", max=1, unmeasured="allow"),
        GateConfig(metric="files.onnx.w8a8.size_bytes", max=500_000),
    )


class Page(HTMLParser):
    """Text, tags and addresses of an HTML page; refuses tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "br", "img", "link", "input", "wbr"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_the_json_is_the_report_and_follows_its_schema(tmp_path: Path) -> None:
    report = gated()
    write_report(report, tmp_path)
    written = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(written, report_schema())
    assert written == json.loads(json.dumps(report))
    assert written["schema_version"] == 2


def test_only_finished_files_are_left(tmp_path: Path) -> None:
    write_report(gated(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_json_lacks_becomes_null_and_is_named(tmp_path: Path, bad: float) -> None:
    report = gated()
    report["files"][0]["parity"]["sqnr_db"] = bad
    write_report(report, tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    written = json.loads(text)
    assert written["files"][0]["parity"]["sqnr_db"] is None
    (note,) = written["notes"]
    assert note.startswith(f"files.0.parity.sqnr_db was {bad}")
    assert note in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_a_page_tells_the_whole_story(tmp_path: Path, name: str) -> None:
    write_report(gated(), tmp_path)
    text = (tmp_path / name).read_text()
    text = Page(text).text if name.endswith("html") else text
    for part in (
        "mobilenet3d_int8",
        "Passed: 4 of 5 gates, 1 not measured, as the recipe allows",
        "98.1 %",  # the teacher
        "+4.2 points over labels alone",
        "92.7–92.9 %",
        "33.4 M MAC",
        "per clip, −46 %",
        "1.42 ms",
        "412 kB",
        "90.5 to 94.8",  # the interval of the ONNX file
        "99.2 %",  # its agreement
        "−0.2",
        "at most 1.00 points",
        ON_A_MAC,
        "top-1 93.5 % → 93.1 %",
        "operations 61.3 M → 33.4 M",
        "cached",
        "ranges from 128 training clips",
        "onnxruntime 1.31.1",
        "epochs: 12",
    ):
        assert part in text, part


def test_robustness_stands_beside_clean_accuracy(tmp_path: Path) -> None:
    write_report(realistic_report(), tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert "| network | clean | mean corrupted | noise | missing sound |\n|---|---|---|---|---|\n" in markdown
    assert "| Teacher | 98.0 % | 88.2 % | 95.0 / 71.0 | 97.0 / 90.0 |" in markdown
    assert "| onnx | 93.0 % | 82.8 % | 90.0 / 55.0 | unaffected |" in markdown
    assert "| coreml | not measured | not measured | not measured | not measured |" in markdown
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Robustness</h2>" in page and "on 200 test clips" in page and "90.0 / 55.0" in page


def layers_measured() -> Report:
    """A report of a run with `sensitivity` and `max_drop_pp`."""

    def figures(kl: float, top1: float) -> dict[str, object]:
        return {"kl": kl, "top1": [top1]}

    report = realistic_report()
    report["stages"][-1]["after"] |= {
        "sensitivity": {
            "clips": 64,
            "totals": {
                "float": figures(0.0, 0.94),
                "weights": figures(0.5, 0.7),
                "activations": figures(0.01, 0.93),
                "both": figures(0.52, 0.69),
            },
            "layers": [
                {
                    "layer": name,
                    "place": "net.py:3",
                    "weights": 1000 * number,
                    "alone": figures(0.5 / number**3, 0.7),
                    "kept": figures(0.02, 0.93),
                }
                for number, name in enumerate([f"blocks.{n}" for n in range(17)], start=1)
            ],
        },
        "mixed_precision": {
            "float_layers": ["blocks.0"],
            "reasons": {"blocks.0": "max_drop_pp: without it the drop is 25.00 points"},
            "trials": [
                {"float_layers": 0, "changed": "", "into": "", "drop_pp": 25.0, "weight_bytes": 90_000},
                {
                    "float_layers": 1,
                    "changed": "blocks.0",
                    "into": "float",
                    "drop_pp": 0.5,
                    "weight_bytes": 93_000,
                },
            ],
            "layers": 17,
            "weight_bytes": 93_000,
        },
    }
    return report


def test_the_cost_of_layers_is_a_table_and_a_picture(tmp_path: Path) -> None:
    write_report(layers_measured(), tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert "## Quantization by layer" in markdown and "Measured on 64 validation clips" in markdown
    assert "| weights only | 0.5 | 70.0 % |" in markdown
    assert "| `blocks.0` | 1.00 k | 0.5 | 70.0 % | 0.02 | 93.0 % | float |" in markdown
    assert "| `blocks.1` | 2.00 k | 0.062 | 70.0 % | 0.02 | 93.0 % | int8 |" in markdown
    assert "`blocks.15`" not in markdown and "2 more are in report.json" in markdown
    assert "1 of 17 layers stay in float, with 93.0 kB of weights" in markdown
    assert "- `blocks.0`: max_drop_pp: without it the drop is 25.00 points" in markdown
    assert "| blocks.0 to float | 1 | 0.50 | 93.0 kB |" in markdown
    assert "sensitivity" not in markdown.split("## Stages")[1].split("##")[0]
    page = (tmp_path / "report.html").read_text()
    assert "blocks.0 (float)" in page and "KL with one layer alone in int8" in page
    assert '<polyline points="0,0 100,98"/>' in page, "the drop over the number of layers in float"


def test_a_run_without_these_figures_has_no_such_section(tmp_path: Path) -> None:
    write_report(realistic_report(), tmp_path)
    assert "Quantization by layer" not in (tmp_path / "report.md").read_text()
    assert "Quantization by layer" not in (tmp_path / "report.html").read_text()


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    write_report(gated(), tmp_path, samples=[Sample(png=PNG, caption="move_left, test")])
    html = (tmp_path / "report.html").read_text()
    page = Page(html)
    assert {"script", "link", "iframe"}.isdisjoint(page.tags)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert len(page.addresses) == 1
    assert "move_left, test" in page.text
    assert "http" not in html
    assert "url(" not in html
    assert 'name="viewport"' in html
    assert "prefers-color-scheme: dark" in html


def test_text_of_others_cannot_become_html(tmp_path: Path) -> None:
    report = gated()
    report["files"][3]["accuracy"]["reason"] = "<script>alert(1)</script> & more"
    write_report(report, tmp_path)
    html = (tmp_path / "report.html").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html


def test_a_file_that_could_not_be_written_is_said_plainly(tmp_path: Path) -> None:
    report = gated()
    failed = artifact("tflite", ".tflite", top1=None, p50_ms=None)
    failed.update(
        status="failed", reason="the converter died: SIGSEGV", path=None, size_bytes=None, latency=[]
    )
    report["files"][1] = failed
    write_report(report, tmp_path)
    jsonschema.validate(json.loads((tmp_path / "report.json").read_text()), report_schema())
    text = Page((tmp_path / "report.html").read_text()).text
    assert "1 of 4 files could not be written" in text
    assert "The tflite.w8a8 file the converter died: SIGSEGV" in text


def test_a_file_that_is_wrong_is_said_plainly_and_not_measured(tmp_path: Path) -> None:
    report = gated()
    wrong = artifact("tflite", ".tflite", top1=None, p50_ms=None)
    wrong.update(status="wrong", reason="the file differs from the float network", latency=[])
    report["files"][1] = wrong
    write_report(report, tmp_path)
    jsonschema.validate(json.loads((tmp_path / "report.json").read_text()), report_schema())
    text = Page((tmp_path / "report.html").read_text()).text
    assert "1 of 4 files missed their pass criterion" in text
    assert "wrong outputs" in text
    assert "The tflite.w8a8 file the file differs from the float network" in text
    assert "| tflite | w8a8 | wrong outputs |" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_the_notes_of_files_are_on_both_pages(tmp_path: Path, name: str) -> None:
    report = gated()
    report["files"][0]["notes"] = ["the accuracy *dropped*"]
    write_report(report, tmp_path)
    text = (tmp_path / name).read_text()
    if name == "report.md":
        format, scheme = report["files"][0]["format"], report["files"][0]["scheme"]
        notes = text.partition("Notes on files:")[2].partition("## ")[0]
        assert notes.strip() == rf"- {format}, {scheme}: the accuracy \*dropped\*"
    else:
        assert "the accuracy *dropped*" in text


def test_several_label_columns_are_shown_one_by_one(tmp_path: Path) -> None:
    report = gated()
    report["gates"] = []
    for model in ("teacher", "student_float", "student_quantized", "student_labels_only"):
        report["models"][model]["top1"] = {"word": 0.9, "slot": 0.8}  # type: ignore[literal-required]
        report["models"][model]["ci95"] = {"word": (0.88, 0.92), "slot": (0.77, 0.83)}  # type: ignore[literal-required]
    for one in report["files"][:3]:
        one["accuracy"]["top1"] = {"word": 0.88, "slot": 0.8}
        one["accuracy"]["ci95"] = {"word": (0.85, 0.9), "slot": (0.77, 0.83)}
        one["parity"]["top1_agreement"] = {"word": 0.99, "slot": 1.0}
    write_report(report, tmp_path)
    jsonschema.validate(json.loads((tmp_path / "report.json").read_text()), report_schema())
    text = Page((tmp_path / "report.html").read_text()).text
    assert "onnx.w8a8 host, word −2.0 88.0 % 85.0 to 90.0 99.0 %" in text
    assert "onnx.w8a8 host, slot 0.0 80.0 % 77.0 to 83.0 100.0 %" in text
    assert "84.0 % mean of 2 label columns" in text
    assert "Top-1: word" in text
    assert "Top-1: slot" in text
    assert "Finished; the recipe sets no gates" in text


def test_a_student_of_one_label_column_has_no_figure_under_another(tmp_path: Path) -> None:
    report = gated()
    report["gates"] = []
    for model, columns in (("teacher", ("word", "slot")), ("student_float", ("word",))):
        report["models"][model]["top1"] = dict.fromkeys(columns, 0.9)  # type: ignore[literal-required]
        report["models"][model]["ci95"] = dict.fromkeys(columns, (0.88, 0.92))  # type: ignore[literal-required]
    for model in ("student_quantized", "student_labels_only"):
        report["models"][model]["top1"] = report["models"][model]["ci95"] = None  # type: ignore[literal-required]
    for one in report["files"]:
        one["accuracy"]["top1"] = one["accuracy"]["ci95"] = None
    plots = {plot["label"]: [row["kind"] for row in plot["rows"]] for plot in accuracy_plots(report)}
    assert plots == {"word": ["teacher", "student_float"], "slot": ["teacher"]}


def test_a_file_that_should_have_run_and_did_not_is_said_at_the_top() -> None:
    report = gated()
    report["files"][0]["accuracy"] |= {"top1": None, "reason": "crashed", "failed": True}
    assert did_not_run(report) == ["onnx.w8a8"]
    sentence, tone = headline(report)
    assert sentence.endswith("; did not run here: onnx.w8a8") and tone == "bad"


def test_the_smallest_report_makes_pages(tmp_path: Path) -> None:
    report: Report = {
        "schema_version": 1,
        "recipe": {"name": "bare"},
        "environment": {},
        "models": {"teacher": None, "student_float": None, "student_quantized": None},
        "stages": [],
        "files": [],
        "gates": [],
    }
    write_report(report, tmp_path)
    assert "bare" in Page((tmp_path / "report.html").read_text()).text


@pytest.mark.parametrize(
    ("gates", "sentence", "tone"),
    [
        ([], "Finished; the recipe sets no gates", "plain"),
        ([("files.onnx.w8a8.top1", 0.5, "fail")], "Passed: 1 of 1 gate", "good"),
        ([("files.onnx.w8a8.top1", 0.99, "fail")], "Failed: 1 of 1 gate", "bad"),
        ([("files.*.w8a8.top1", 0.5, "fail")], "Failed: 1 of 4 gates", "bad"),
    ],
)
def test_the_verdict_stands_at_the_top(gates: list[tuple[str, float, str]], sentence: str, tone: str) -> None:
    configs = [GateConfig(metric=metric, min=limit, unmeasured=rule) for metric, limit, rule in gates]  # type: ignore[arg-type]
    assert headline(with_gates(realistic_report(), *configs)) == (sentence, tone)


def test_curves_span_their_picture() -> None:
    (loss,) = curves([{"epoch": 1, "loss": 4.0}, {"epoch": 2, "loss": 1.0}, {"epoch": 3, "loss": 2.0}])
    assert loss["points"] == "0,0 50,100 100,66.67"
    assert (loss["low"], loss["high"], loss["last"], loss["epochs"]) == ("1", "4", "2", (1, 3))


def test_curves_leave_out_what_is_no_number() -> None:
    (loss,) = curves([{"loss": math.nan}, {"loss": 1.0}, {"loss": None}, {"loss": 2.0}])
    assert loss["epochs"] == (2, 4)


def test_a_far_tail_does_not_hide_the_medians() -> None:
    slow = artifact("onnx", ".onnx", top1=0.9, p50_ms=2.0)
    slow["latency"][0]["p99_ms"] = 400.0
    plot = latency_plot([slow])
    assert plot is not None
    assert plot["rows"][0]["far"] == "p99 400 ms" and plot["rows"][0]["dot"] > 50
    slow["latency"][0]["p90_ms"] = 300.0
    plot = latency_plot([slow])
    assert plot is not None
    assert plot["rows"][0]["far"] == "p90 300 ms, p99 400 ms" and plot["rows"][0]["tick"] is None
    assert plot["rows"][0]["dot"] > 25


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (figures.percent(0.96125), "96.1 %"),
        (figures.percent(None), "not measured"),
        (figures.points(0.4), "−0.4"),
        (figures.points(-0.4), "+0.4"),
        (figures.points(0.01), "0.0"),
        (figures.size(999), "999 B"),
        (figures.size(412_345), "412 kB"),
        (figures.size(1_300_000), "1.30 MB"),
        (figures.milliseconds(0.5), "0.50 ms"),
        (figures.milliseconds(123.4), "123 ms"),
        (figures.seconds(200), "3 min 20 s"),
        (figures.count(169_000_000), "169 M"),
        (figures.count(12), "12"),
    ],
)
def test_figures_carry_their_units(shown: str, text: str) -> None:
    assert shown == text


def test_warnings_stand_before_every_figure(tmp_path: Path) -> None:
    report = realistic_report()
    message = "predicts '<b>wave</b>' for all 18 test clips"
    report["warnings"] = [{"path": "models.teacher", "label": "label", "message": message}]
    write_report(report, tmp_path)
    jsonschema.validate(json.loads((tmp_path / "report.json").read_text()), report_schema())
    markdown, html = ((tmp_path / name).read_text() for name in ("report.md", "report.html"))
    assert r"- **Warning:** `models.teacher`: predicts '\<b\>wave\</b\>' for all 18 test clips" in markdown
    assert markdown.index("Warning") < markdown.index("- Teacher")
    page = Page(html)
    assert message in page.text
    assert page.text.index(message) < page.text.index("parameters")
    assert "b" in page.tags
    assert "<b>wave" not in html


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "a|b", "x`y", "[l](http://e.org)", "one\ntwo"])
def test_text_of_users_is_no_markup_in_either_page(tmp_path: Path, text: str) -> None:
    report = realistic_report()
    report["skipped"] = [{"path": f"/clips/{text}.mp4", "reason": text}]
    report["notes"] = [text]
    report["recipe"]["data"] = {"labels": [text, "```"]}
    report["data"] = {"source": "manifest", "train": 1, "validation": 1, "test": 1, "classes": {text: [text]}}
    write_report(report, tmp_path)
    markdown, html = ((tmp_path / name).read_text() for name in ("report.md", "report.html"))
    prose = re.sub(r"(?ms)^````+yaml$.*?^````+$|`+[^`\n]*`+", "", markdown)
    assert "<script>" not in prose + html
    assert not re.search(r"(?<!\\)\]\(", prose)
    assert "\ntwo" not in prose
    for table in re.findall(r"(?m)(?:^\|.*\n)+", prose):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table


@pytest.mark.parametrize(
    ("name", "value", "limit", "expected"),
    [
        ("top1_drop_pp", 0.0, 0.0001, ("0.00 points", "0.0001 points")),
        ("top1_drop_pp", 1.0000001, 1.0, ("1.0000001 points", "1.00 points")),
        ("top1", 0.9499999, 0.95, ("94.99999 %", "95.0 %")),
        ("top1", 0.29, 0.29, ("29.0 %", "29.0 %")),
        ("size_bytes", 2_000_001, 2e6, ("2000001 B", "2.00 MB")),
        ("max_abs_error", 2e-7, 1e-7, ("2e-07", "1e-07")),
        ("macs", 61_234_567, 7e7, ("61.2 M", "70.0 M")),
        ("seconds", 119.9999, 120, ("119.9999 s", "120 s")),
        ("top1", None, 0.5, ("not measured", "50.0 %")),
    ],
)
def test_a_figure_beyond_its_limit_never_looks_as_if_it_were_on_it(
    name: str, value: float | None, limit: float, expected: tuple[str, str]
) -> None:
    assert figures.against_limit(name, value, limit) == expected
