"""Before any training: what each runtime will refuse, run slowly or run in float, from the network's graph alone.

`survey` lowers the network without stopping at what cannot be lowered; `subject` is what one format would be
written from; `on_onnxruntime`, `on_litert`, `on_executorch` and `on_coreml` say what their runtime makes of it,
from the tables in `facts`; `table` prints what was found. Weights and ranges do not matter: they may be random.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import fx
from torch.export import ExportedProgram

from export import EXPORTERS
from export.check.facts import SCHEMES
from export.check.finding import Finding, together
from export.check.survey import Surveyed, survey
from export.coverage.macs import macs
from export.coverage.places import place_of
from export.lower.source import Refusal, operator_name

if TYPE_CHECKING:
    from export.check.subject import Subject

__all__ = ["Finding", "check"]

CHECKS = {
    "onnx": "export.check.on_onnxruntime:check_onnxruntime",
    "tflite": "export.check.on_litert:check_litert",
    "executorch": "export.check.on_executorch:check_executorch",
    "coreml": "export.check.on_coreml:check_coreml",
}
"""What each format's runtime says. A new format is one line here and one function in a module of its own."""


def check(program: ExportedProgram, *, formats: Sequence[str], scheme: str) -> tuple[Finding, ...]:
    """What the runtimes of `formats` would say to the captured network `program`, written in `scheme`.

    Nothing is written, and no runtime has to be installed. Raises ValueError for an unknown format.
    """
    unknown = [name for name in formats if name not in EXPORTERS]
    if unknown:
        raise ValueError(f"format {unknown[0]!r} is unknown; known are {', '.join(EXPORTERS)}")
    return together(_findings(program, formats, scheme))


def _findings(program: ExportedProgram, formats: Sequence[str], scheme: str) -> Iterator[Finding]:
    taken = [name for name in formats if scheme in EXPORTERS[name].schemes]
    for name in formats:
        if name not in taken:
            why = SCHEMES.get((name, scheme), f"{EXPORTERS[name].extension} files are not written in it")
            yield _of_network(name, f"scheme {scheme}", why, f"use {', '.join(EXPORTERS[name].schemes)}")
    try:
        surveyed = survey(program)
        lowered = _as_written(surveyed, scheme)
    except (ValueError, RuntimeError) as error:
        yield from (_of_network(name, "network", str(error), "see there") for name in taken)
        return
    given = torch.export.export(lowered, surveyed.examples())
    total = sum(map(macs, given.graph.nodes))
    for name in taken:
        yield from (_of_refusal(name, refusal, surveyed.macs) for refusal in surveyed.refusals)
        yield from _check(name)(_subject(name, scheme, given, total))


def _as_written(surveyed: Surveyed, scheme: str) -> fx.GraphModule:
    """What the writers are given, with ranges from one made-up input."""
    from export.reference import SCHEMES, calibrate, convert, prepare
    from export.weights import WEIGHT_SCHEMES, store_weights

    if scheme in SCHEMES:
        prepared = prepare(surveyed.graph, scheme=scheme)
        calibrate(prepared, [surveyed.examples()])
        return convert(prepared)
    return store_weights(surveyed.graph, scheme=scheme) if scheme in WEIGHT_SCHEMES else surveyed.graph


def _check(name: str) -> Callable[[Subject], Iterator[Finding]]:
    module, function = CHECKS[name].split(":")
    return getattr(import_module(module), function)


def _subject(name: str, scheme: str, program: ExportedProgram, total: int) -> Subject:
    from export.check.subject import Subject

    return Subject(format=name, scheme=scheme, program=program, macs=total)


def _of_network(name: str, operator: str, why: str, instead: str) -> Finding:
    return Finding(
        format=name, severity="refused", operator=operator, place=None, why=why, instead=instead, share=1.0
    )


def _of_refusal(name: str, refusal: Refusal, total: int) -> Finding:
    node = refusal.node
    return Finding(
        format=name,
        severity="refused",
        operator=operator_name(node),
        place=place_of(node.meta.get("stack_trace")),
        why=refusal.why,
        instead=refusal.instead,
        share=macs(node) / total if total else 0.0,
    )
