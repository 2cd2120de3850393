"""Writes a network into files of several formats, each by a process of its own, and the manifest beside them."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from export import EXPORTERS
from export.child import in_a_sentence
from export.manifest import FileSpec
from export.one_format import (
    PROGRAM_FILE,
    STEP_FILE,
    Proof,
    Work,
    export_format,
    write_json,
)
from export.out_folder import LOG_FILE, MANIFEST_FILE, begin, check_folders, export_folder, put_in_place
from export.outcome import ExportOutcome
from export.stepping import Stepper

Progress = Callable[[str, int, int], None]
"""`progress(what, done, total)`, called before each format is written."""


def export_files(
    program: ExportedProgram,
    spec: FileSpec,
    *,
    formats: Sequence[str],
    scheme: str,
    out: Path,
    proof: Proof | None = None,
    step: Stepper | None = None,
    notes: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> list[ExportOutcome]:
    """Writes `out/<format>/model.<extension>` for every format, runs each file, and writes `out/manifest.json`.

    `program` is the network as captured (`export.capture`) for the float schemes, which every format lowers for its
    own runtime; for `w8a8` it is the captured int8 reference (`quantized_decomposed` operators), which is lowered
    already. `spec` says what it takes and gives. Our files in each folder are replaced: the file, `model.json` (its
    description, for when it travels alone) and `convert.log`; others stay. A network that cannot be lowered for a
    format, a writer that fails, or crashes its process, costs its own format only: its outcome carries the reason.
    With a `proof`, so does the outcome of a file that runs otherwise than torch, or not at all.
    `step` is the program for one frame of a network that streams, written beside the other in every format.
    Every outcome begins its notes with `notes`.

    A program that cannot be saved fails in every format. Raises ValueError for an unknown format, a scheme that a
    format does not take, a graph that does not fit the scheme, and what `check_folders` raises.
    """
    check_formats(formats, scheme=scheme)
    _check_graph(program, scheme=scheme)
    check_folders(out, formats)
    with tempfile.TemporaryDirectory(prefix="pocketreel-export-") as folder:
        scratch = Path(folder)
        try:
            torch.export.save(program, scratch / PROGRAM_FILE)
            if step is not None:
                torch.export.save(step.program, scratch / STEP_FILE)
        except Exception as error:  # of many types, most of them torch's own
            return refuse_files(error, spec.description, formats=formats, scheme=scheme, out=out)
        if proof is not None:
            proof.trial.save(scratch)
        stepping = None if step is None else step.spec
        with export_folder(out, formats) as ledger:
            outcomes = []
            work = Work(
                spec=spec,
                step=stepping,
                scheme=scheme,
                scratch=scratch,
                ledger=ledger,
                proof=proof,
                notes=notes,
            )
            for done, name in enumerate(formats):
                if progress is not None:
                    progress(name, done, len(formats))
                outcomes.append(export_format(name, work))
            _write_manifest(out, spec.description, outcomes)
    return outcomes


def refuse_files(
    error: Exception, description: Mapping[str, Any], *, formats: Sequence[str], scheme: str, out: Path
) -> list[ExportOutcome]:
    """The outcomes and the manifest of a network that cannot be captured, quantized or saved: all formats fail."""
    outcomes = []
    with export_folder(out, formats) as ledger:
        for name in formats:
            partial = begin(name, ledger)
            (partial / LOG_FILE).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
            put_in_place(partial, name, ledger)
            failed = ExportOutcome(
                format=name,
                scheme=scheme,
                runtime=EXPORTERS[name].runtime,
                path=None,
                failure=in_a_sentence(error),
                log=Path(name, LOG_FILE),
                seconds=0.0,
                peak_rss_bytes=None,
            )
            outcomes.append(failed)
        _write_manifest(out, description, outcomes)
    return outcomes


def check_formats(formats: Sequence[str], *, scheme: str) -> None:
    """Raises ValueError for an unknown format, one given twice, and a scheme that a format does not take."""
    if not formats:
        raise ValueError(f"no format is given; known are {', '.join(EXPORTERS)}")
    for name in formats:
        if name not in EXPORTERS:
            near = get_close_matches(name, EXPORTERS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"format {name!r} is unknown; known are {', '.join(EXPORTERS)}{hint}")
        if formats.count(name) > 1:
            raise ValueError(f"format {name!r} is given twice")
        schemes = EXPORTERS[name].schemes
        if scheme not in schemes:
            able = [other for other, row in EXPORTERS.items() if scheme in row.schemes]
            raise ValueError(
                f"format {name!r} does not take scheme {scheme!r}; it takes {', '.join(schemes)}; "
                f"{scheme!r} is for {', '.join(able) or 'no format'}"
            )


def _check_graph(program: ExportedProgram, *, scheme: str) -> None:
    quantized = any("quantized_decomposed" in str(node.target) for node in program.graph.nodes)
    if quantized != (scheme == "w8a8"):
        graph, wanted = ("an int8", "w8a8") if quantized else ("a float", "fp32 or fp16")
        raise ValueError(f"scheme {scheme!r} was given {graph} graph; such a graph is written as {wanted}")


def _write_manifest(out: Path, description: Mapping[str, Any], outcomes: Sequence[ExportOutcome]) -> None:
    """Writes `out/manifest.json`, the whole file or nothing."""
    write_json(out / MANIFEST_FILE, {**description, "files": [outcome.to_dict() for outcome in outcomes]})
