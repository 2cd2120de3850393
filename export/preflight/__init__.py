"""Predicts from a network's graph, before training, what each runtime will refuse, run slowly or run in float.

`survey` lowers the network and skips operators that cannot be lowered; `subject` is the input of one writer, in
that writer's form (`forms`); `on_onnxruntime`, `on_litert`, `on_executorch` and `on_coreml` check it against the
tables in `facts`; `table` prints the findings. Weights and ranges do not matter: they may be random.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import fx
from torch.export import ExportedProgram

from export import EXPORTERS
from export.lower.source import Refusal, module_of, operator_name
from export.preflight.facts import REWRITE, SCHEMES
from export.preflight.finding import Finding, merge
from export.preflight.forms import as_written, mixes_frames, origins_of
from export.preflight.survey import Surveyed, survey
from export.verify.coverage.macs import macs
from export.verify.coverage.places import place_of

if TYPE_CHECKING:
    from export.preflight.subject import Subject

__all__ = ["Finding", "check"]


def check(
    program: ExportedProgram, *, formats: Sequence[str], scheme: str, group_size: int | None = None
) -> tuple[Finding, ...]:
    """Findings of the runtimes of `formats` on the captured network `program`, written in `scheme`, `w4` with
    groups of at most `group_size` weights.

    Nothing is written, and no runtime has to be installed. Raises ValueError for an unknown format.
    """
    unknown = [name for name in formats if name not in EXPORTERS]
    if unknown:
        raise ValueError(f"format {unknown[0]!r} is unknown; allowed: {', '.join(EXPORTERS)}")
    return merge(_findings(program, formats, scheme, group_size))


def _findings(
    program: ExportedProgram, formats: Sequence[str], scheme: str, group_size: int | None
) -> Iterator[Finding]:
    taken = [name for name in formats if scheme in EXPORTERS[name].schemes]
    for name in formats:
        if name not in taken:
            why = SCHEMES.get((name, scheme), f"{EXPORTERS[name].extension} files do not support it")
            yield _of_network(name, f"scheme {scheme}", why, f"use {', '.join(EXPORTERS[name].schemes)}")
    try:
        surveyed = survey(program)
        lowered = _rounded(surveyed, scheme, group_size)
    except (ValueError, RuntimeError) as error:
        why, _, instead = str(error).rpartition("; ")
        for name in taken:
            yield _of_network(name, "network", why or instead, instead if why else REWRITE)
        return
    given = torch.export.export(lowered, surveyed.examples())
    total = sum(map(macs, given.graph.nodes))
    origins = origins_of(program)
    for name in taken:
        yield from (_of_refusal(name, refusal, surveyed.macs) for refusal in surveyed.refusals)
        written = as_written(name, scheme, given, lowered=lowered, mixes_frames=mixes_frames(program))
        checks = EXPORTERS[name].preflight
        if checks is not None:
            yield from import_module(checks).check(_subject(name, scheme, written, total, origins))


def _rounded(surveyed: Surveyed, scheme: str, group_size: int | None) -> fx.GraphModule:
    """The lowered network in the number format of the scheme, with ranges from one random input."""
    from export.quantize.int8_reference import SCHEMES, calibrate, convert, prepare
    from export.quantize.weight_only import WEIGHT_SCHEMES, store_weights

    if scheme in SCHEMES:
        prepared = prepare(surveyed.graph, scheme=scheme)
        calibrate(prepared, [surveyed.examples()])
        return convert(prepared)
    if scheme not in WEIGHT_SCHEMES:
        return surveyed.graph
    return store_weights(surveyed.graph, scheme=scheme, group_size=group_size)


def _subject(
    name: str, scheme: str, program: ExportedProgram, total: int, origins: Mapping[str, tuple[str, ...]]
) -> Subject:
    from export.preflight.subject import Subject

    return Subject(format=name, scheme=scheme, program=program, macs=total, origins=origins)


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
        place=place_of(node.meta.get("stack_trace")) or module_of(node),
        why=refusal.why,
        instead=refusal.instead,
        share=macs(node) / total if total else 0.0,
    )
