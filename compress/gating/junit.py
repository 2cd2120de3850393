"""Outcomes as JUnit XML, which continuous integration systems show as tests."""

from __future__ import annotations

import re
from xml.etree import ElementTree as XML

from compress.gating.verdict import Judgement, Outcome

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="pocketreel gate"'
"""The beginning of every document."""

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 does not allow."""


def junit(judgement: Judgement) -> str:
    """A document with one test suite per gate and one test case per figure.

    An outcome that stops the change is a `failure`, an inconclusive one that does not is `skipped`. The schema is
    that of Jenkins (https://github.com/jenkinsci/xunit-plugin, `junit-10.xsd`), which GitLab reads, too.
    """
    root = XML.Element("testsuites", name="pocketreel gate")
    suites: dict[str, list[Outcome]] = {}
    for outcome in judgement.outcomes:
        suites.setdefault(outcome.gate, []).append(outcome)
    for gate, outcomes in suites.items():
        stopped = sum(map(judgement.stops, outcomes))
        unclear = sum(one.verdict == "inconclusive" and not judgement.stops(one) for one in outcomes)
        suite = XML.SubElement(
            root,
            "testsuite",
            name=gate,
            tests=str(len(outcomes)),
            failures=str(stopped),
            errors="0",
            skipped=str(unclear),
        )
        for outcome in outcomes:
            _add_case(suite, outcome, stops=judgement.stops(outcome))
    XML.indent(root)
    declaration, _ = HEAD.split("<testsuites")
    return f"{declaration}{XML.tostring(root, encoding='unicode')}\n"


def _add_case(suite: XML.Element, outcome: Outcome, *, stops: bool) -> None:
    case = XML.SubElement(suite, "testcase", name=_text(outcome.figure), classname=outcome.gate)
    message = _text(
        outcome.reason if outcome.needed is None else f"{outcome.reason}; needed: {outcome.needed}"
    )
    if stops:
        fault = XML.SubElement(case, "failure", type=outcome.verdict, message=message)
        fault.text = _text("\n".join([outcome.reason, *map(str, outcome.flips)]))
    elif outcome.verdict == "inconclusive":
        XML.SubElement(case, "skipped", message=message)
    else:
        XML.SubElement(case, "system-out").text = message


def _text(value: str) -> str:
    return _NOT_XML.sub("\ufffd", value)
