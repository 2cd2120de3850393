"""JUnit XML, annotations and the job summary of GitHub."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as XML

import pytest

from compress.gating.github import MOST_CHARACTERS, summary, workflow_commands
from compress.gating.junit import HEAD, junit
from compress.gating.verdict import Flip, Judgement, Outcome

FLIP = Flip(clip="a|b.mp4", label="<up>", before="<up>", after=None)

SCHEMA = {
    "testsuites": ({"name", "tests", "failures", "errors", "time", "disabled"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname", "id", "package"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name", "classname", "time", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"type", "message"}, set()),
    "skipped": ({"type", "message"}, set()),
    "system-out": (set(), set()),
}
"""Attributes and children by element, of `junit-10.xsd` of Jenkins."""


def outcome(verdict, figure="files.onnx.w8a8.label", **more):
    settings = {"gate": "gates.0.accuracy", "reason": "top-1 90 % -> 80 %: x < y", **more}
    return Outcome(figure=figure, verdict=verdict, **settings)


def judgement(*outcomes, inconclusive="fail"):
    return Judgement(
        outcomes=outcomes,
        inconclusive=inconclusive,
        run="out/run",
        baseline="baselines/main",
        detectable=("400 clips: 2.0 points",),
    )


def valid(element):
    attributes, children = SCHEMA[element.tag]
    assert set(element.attrib) <= attributes, element.attrib
    assert "name" in element.attrib or element.tag not in ("testsuite", "testcase")
    for child in element:
        assert child.tag in children
        valid(child)


def test_the_document_is_valid_and_counts(tmp_path):
    text = junit(
        judgement(
            outcome("pass"),
            outcome("fail", flips=(FLIP,)),
            outcome("inconclusive", gate="gates.1.latency", needed="12 more rounds"),
        )
    )
    assert text.startswith(HEAD)
    (tmp_path / "gates.xml").write_text(text, encoding="utf-8")
    root = XML.parse(tmp_path / "gates.xml").getroot()
    valid(root)
    counts = [[suite.get(name) for name in ("name", "tests", "failures", "skipped")] for suite in root]
    assert counts == [["gates.0.accuracy", "2", "1", "0"], ["gates.1.latency", "1", "1", "0"]]
    failures = list(root.iter("failure"))
    assert [one.get("type") for one in failures] == ["fail", "inconclusive"]
    assert "a|b.mp4: <up> -> not finite (was right)" in failures[0].text
    assert failures[1].get("message").endswith("needed: 12 more rounds")


def test_inconclusive_outcomes_that_do_not_stop_are_skipped():
    root = XML.fromstring(junit(judgement(outcome("inconclusive"), inconclusive="pass")).encode())
    valid(root)
    assert root[0].get("skipped") == "1" and root[0].get("failures") == "0"
    assert root[0][0][0].tag == "skipped"


def test_names_that_xml_does_not_allow_are_replaced():
    hostile = outcome("fail", figure="files.\x00\ud800]]>&", flips=(FLIP,))
    root = XML.fromstring(junit(judgement(hostile)).encode())
    assert root[0][0].get("name") == "files.\ufffd\ufffd]]>&"


def test_annotations_are_one_line_each():
    lines = list(
        workflow_commands(
            judgement(
                outcome("fail", reason="50 %\n::error::forged", figure="a,b:c"),
                outcome("inconclusive", needed="more"),
                outcome("pass"),
            )
        )
    )
    assert lines == [
        "::error title=a%2Cb%3Ac%3A fail::50 %25%0A::error::forged",
        "::error title=files.onnx.w8a8.label%3A inconclusive::top-1 90 %25 -> 80 %25: x < y; needed: more",
    ]
    (warning,) = workflow_commands(judgement(outcome("inconclusive"), inconclusive="pass"))
    assert warning.startswith("::warning title=")


@pytest.mark.parametrize(("failed", "shown", "last"), [(10, 10, "top-1"), (30, 10, "21 more outcomes")])
def test_at_most_ten_annotations_of_a_kind(failed, shown, last):
    lines = list(workflow_commands(judgement(*[outcome("fail")] * failed)))
    assert len(lines) == shown and last in lines[-1]


def test_the_summary_begins_with_what_stops_the_change():
    text = summary(judgement(outcome("pass"), outcome("fail", flips=(FLIP,), baseline=0.9, value=0.8)))
    assert text.startswith("## Gates failed\n\n1 pass, 1 fail, 0 inconclusive, against `baselines/main`.")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows] == ["verdict", "❌ fail", "✅ pass"]
    assert "| 0.9 | 0.8 |" in rows[1] and "x \\< y" in rows[1]
    assert "- a\\|b.mp4: \\<up\\> -\\> not finite (was right)" in text
    assert "- 400 clips: 2.0 points" in text


def test_a_summary_that_is_too_long_is_cut_and_says_so():
    many = [outcome("fail", figure=f"files.{k}", reason="x" * 400) for k in range(300)]
    text = summary(judgement(*many))
    assert len(text) <= MOST_CHARACTERS
    assert text.endswith("The rest does not fit; the JUnit file and `--json` have all of it.\n")
    assert text.splitlines()[-3].endswith("|")


def test_only_twenty_flips_of_a_figure_are_listed():
    text = summary(judgement(outcome("fail", flips=(FLIP,) * 33)))
    assert text.count("a\\|b.mp4") == 20 and "- and 13 more" in text


def test_every_row_of_the_schema_is_used(tmp_path: Path):
    text = junit(judgement(outcome("pass"), outcome("fail"), outcome("inconclusive"), inconclusive="pass"))
    assert {element.tag for element in XML.fromstring(text.encode()).iter()} == set(SCHEMA)
