"""Checks a network for Core ML: operators that coremltools refuses, and those not run by the Neural Engine.

The latter by the tables of `export.emit.coreml.neural_engine`, as in a file's coverage on systems other than
Apple's: the unit that Core ML uses, and its speed, can be determined only on a Mac.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx

from export.emit.coreml.decompose import is_written_otherwise
from export.emit.coreml.neural_engine import REFUSED
from export.lower.source import operator_name
from export.preflight.facts import COREML_NAMES, NO_COREML_FORM
from export.preflight.finding import Finding
from export.preflight.subject import Subject, computing
from export.verify.coverage.places import places_of


def check(subject: Subject) -> Iterator[Finding]:
    """Operators that coremltools does not convert, and those that the Neural Engine does not support."""
    if subject.scheme == "fp32":
        yield Finding(
            format=subject.format,
            severity="slow",
            operator="network",
            place=None,
            why="its numbers are float32, and the Neural Engine takes float16",
            instead="use the scheme fp16",
            share=1.0,
        )
    places = places_of(subject.program.graph)
    for node in computing(subject.program):
        name = operator_name(node)
        if name in NO_COREML_FORM and not is_written_otherwise(node):
            yield subject.finding("refused", node, "coremltools does not convert it", places=places)
        elif subject.scheme == "fp32":
            continue  # already reported for the whole network
        elif COREML_NAMES.get(name) in REFUSED:
            yield subject.finding("slow", node, REFUSED[COREML_NAMES[name]], places=places)
        elif _is_integer(node):
            why = "it works on integers, the Neural Engine on float16"
            yield subject.finding("slow", node, why, places=places)


def _is_integer(node: fx.Node) -> bool:
    """Whether a node takes or returns integers that depend on an input."""
    for one in (node, *(source for source in node.all_input_nodes if source.op == "call_function")):
        value: Any = one.meta.get("val")
        first = value[0] if isinstance(value, tuple | list) and value else value
        if isinstance(first, Tensor) and first.dtype in (torch.int32, torch.int64):
            return True
    return False
