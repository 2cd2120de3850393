"""What coremltools would say to a network. Which unit Core ML computes on, and how fast, only a Mac can say."""

from __future__ import annotations

from collections.abc import Iterator

from export.check.facts import NO_COREML_FORM
from export.check.finding import Finding
from export.check.subject import Subject, computing
from export.coverage.places import places_of
from export.lower.source import operator_name


def check_coreml(subject: Subject) -> Iterator[Finding]:
    """Operators that coremltools does not convert."""
    places = places_of(subject.program.graph)
    for node in computing(subject.program):
        if operator_name(node) in NO_COREML_FORM:
            yield subject.finding("refused", node, "coremltools does not convert it", places=places)
