"""Writes a network into files of several formats, each by a process of its own, and the manifest beside them."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from export import EXPORTERS, Exporter
from export.child import in_a_sentence, run_in_child
from export.execute import execute
from export.job import Job, StepJob, write
from export.manifest import FileSpec, WrittenFile, sha256_of, size_bytes_of
from export.outcome import ExportOutcome, StepOutcome
from export.stepping import Stepper
from export.trial import REFERENCE, Trial
from export.verdict import judge
from export.weights import WEIGHT_SCHEMES

if TYPE_CHECKING:
    from export.layers import LayerError

LOG_FILE = "convert.log"
PROGRAM_FILE, STEP_FILE = "program.pt2", "step.pt2"

TIME_LIMIT_S = 3600.0
"""A writer that takes longer hangs: the largest networks take minutes."""

LISTED_LAYERS = 20
"""How many layers the row of a wrong int8 file names."""

NOT_THE_FILE = (
    "layers are ranked in the torch int8 reference, which this file does not follow: they explain what the "
    "quantization loses, not what is wrong with the file"
)

Progress = Callable[[str, int, int], None]
"""`progress(what, done, total)`, called before each format is written."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What every file is held against."""

    trial: Trial
    rank_layers: Callable[[], tuple[LayerError, ...]] | None = None
    """Ranks the layers of the int8 reference, worst first: asked for when an int8 file is wrong."""


def export_files(
    program: ExportedProgram,
    spec: FileSpec,
    *,
    formats: Sequence[str],
    scheme: str,
    out: Path,
    proof: Proof | None = None,
    step: Stepper | None = None,
    progress: Progress | None = None,
) -> list[ExportOutcome]:
    """Writes `out/<format>/model.<extension>` for every format, runs each file, and writes `out/manifest.json`.

    `program` is the network as captured (`export.capture`) for the float schemes, which every format lowers for its
    own runtime; for `w8a8` it is the captured int8 reference (`quantized_decomposed` operators), which is lowered
    already. `spec` says what it takes and gives. Each folder is replaced as a whole, and holds the file,
    `model.json` (the file's description, for when it travels alone) and `convert.log`. A network that cannot be
    lowered for a format, a writer that fails, or crashes its process, costs its own format only: its outcome
    carries the reason. With a `proof`, so does the outcome of a file that runs otherwise than torch, or not at all.
    `step` is the program for one frame of a network that streams, written beside the other in every format.

    Raises ValueError for an unknown format, a scheme that a format does not take, a graph that does not fit the
    scheme, and a folder `out/<format>` that holds something else than an export.
    """
    check_formats(formats, scheme=scheme)
    _check_graph(program, scheme=scheme)
    _check_folders(out, formats)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="pocketreel-export-") as folder:
        scratch = Path(folder)
        torch.export.save(program, scratch / PROGRAM_FILE)
        if step is not None:
            torch.export.save(step.program, scratch / STEP_FILE)
        if proof is not None:
            proof.trial.save(scratch)
        stepping = None if step is None else step.spec
        work = _Work(spec=spec, step=stepping, scheme=scheme, scratch=scratch, out=out, proof=proof)
        for done, name in enumerate(formats):
            if progress is not None:
                progress(name, done, len(formats))
            outcomes.append(_export(name, work))
    _write_manifest(out, spec.description, outcomes)
    return outcomes


def refuse_files(
    error: Exception, description: Mapping[str, Any], *, formats: Sequence[str], scheme: str, out: Path
) -> list[ExportOutcome]:
    """The outcomes and the manifest of a network that cannot be captured or quantized: every format fails by it."""
    _check_folders(out, formats)
    outcomes = []
    for name in formats:
        partial = _begin(name, out)
        (partial / LOG_FILE).write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        _put_in_place(partial, out / name)
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


def _check_folders(out: Path, formats: Sequence[str]) -> None:
    for folder in (out / name for name in formats):
        if folder.exists() and not (folder / LOG_FILE).is_file():
            raise ValueError(
                f"{folder} holds no export (no {LOG_FILE}) and would be replaced: choose another folder"
            )
    out.mkdir(parents=True, exist_ok=True)
    # Until the new manifest is written there is none: what it would say is no longer so.
    (out / "manifest.json").unlink(missing_ok=True)


def _begin(name: str, out: Path) -> Path:
    """An empty folder in which one format is written."""
    partial = out / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    return partial


def _put_in_place(partial: Path, final: Path) -> None:
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)


def _lowering(exporter: Exporter, scheme: str) -> str | None:
    """The module that lowers for `exporter`; rounded weights are those of the plain lowering in every format."""
    if scheme == "w8a8":
        return None
    return exporter.lowering if scheme == "fp32" else "export.lower"


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What the formats of one export share."""

    spec: FileSpec
    step: FileSpec | None
    scheme: str
    scratch: Path
    """Where programs and samples lie."""
    out: Path
    proof: Proof | None


def _export(name: str, work: _Work) -> ExportOutcome:
    """Writes one format into a folder of its own, runs the file, and puts the folder in place of the one before."""
    exporter, scheme, scratch = EXPORTERS[name], work.scheme, work.scratch
    partial = _begin(name, work.out)
    path = partial / f"model{exporter.extension}"
    order = {"clip_layout": exporter.clip_layout, "token_dtype": exporter.token_dtype}
    job = Job(
        module=exporter.module,
        program=scratch / PROGRAM_FILE,
        path=path,
        spec=work.spec.arranged(**order),
        scheme=scheme,
        lowering=_lowering(exporter, scheme),
        stored=scheme in WEIGHT_SCHEMES and scheme not in exporter.rounds_weights,
        step=None
        if work.step is None
        else StepJob(program=scratch / STEP_FILE, spec=work.step.arranged(**order)),
        samples=None if work.proof is None else scratch,
    )
    log = partial / LOG_FILE
    started = time.monotonic()
    ended = run_in_child(write, job, who="the converter", log=log, time_limit_s=TIME_LIMIT_S)
    seconds = time.monotonic() - started
    written: WrittenFile | None = ended.value
    outcome = ExportOutcome(
        format=name,
        scheme=scheme,
        runtime=exporter.runtime,
        path=None,
        failure=ended.reason,
        log=Path(name, LOG_FILE),
        seconds=seconds,
        peak_rss_bytes=ended.peak_rss_bytes,
    )
    if written is None:
        _keep_only_log(partial)
    else:
        outcome = replace(
            outcome,
            path=Path(name, path.name),
            size_bytes=size_bytes_of(path),
            sha256=sha256_of(path),
            inputs=written.inputs,
            outputs=written.outputs,
            notes=written.notes,
            coverage=written.coverage,
            step=_step_outcome(name, written.step, job),
        )
        if work.proof is not None:
            outcome = _proved(outcome, written, work, job)
        row = outcome.to_dict() | {"path": path.name, "log": LOG_FILE}
        if outcome.step is not None:
            row["step"] |= {"path": outcome.step.path.name}
        _write_json(partial / "model.json", {**work.spec.description, "file": row})
    _put_in_place(partial, work.out / name)
    return outcome


def _step_outcome(name: str, written: WrittenFile | None, job: Job) -> StepOutcome | None:
    if written is None:
        return None
    assert job.step is not None
    return StepOutcome(
        path=Path(name, written.path.name),
        entry=written.entry,
        size_bytes=size_bytes_of(written.path),
        sha256=sha256_of(written.path),
        inputs=written.inputs,
        outputs=written.outputs,
        states=job.step.spec.states,
        notes=written.notes,
        coverage=written.coverage,
    )


def _proved(outcome: ExportOutcome, written: WrittenFile, work: _Work, job: Job) -> ExportOutcome:
    """The outcome with what the file answered, and the worst layers of an int8 file that is wrong."""
    proof = work.proof
    assert proof is not None
    trial = proof.trial
    if written.answers is not None:
        trial = trial.with_answers({REFERENCE: written.answers})
    names = [info.name for info in work.spec.outputs]
    common: dict[str, Any] = {
        "format": outcome.format,
        "samples": work.scratch,
        "log": job.path.parent / LOG_FILE,
    }
    executed = execute(written.path, network=work.spec, file=job.spec, entry=written.entry, **common)
    parity = judge(executed, trial, scheme=outcome.scheme, outputs=names)
    outcome = replace(outcome, parity=parity)
    if outcome.step is not None and written.step is not None:
        assert work.step is not None and job.step is not None
        stepped = execute(
            written.step.path,
            network=work.step,
            file=job.step.spec,
            entry=written.step.entry,
            clip=work.spec.inputs[0].name,
            **common,
        )
        after = judge(stepped, trial, scheme=outcome.scheme, outputs=names)
        outcome = replace(outcome, step=replace(outcome.step, parity=after))
    if parity.wrong is None or outcome.scheme != "w8a8" or proof.rank_layers is None:
        return outcome
    notes = outcome.notes if parity.at_fault == "quantization" else (*outcome.notes, NOT_THE_FILE)
    return replace(outcome, notes=notes, layers=proof.rank_layers()[:LISTED_LAYERS])


def _keep_only_log(folder: Path) -> None:
    """Removes what a failed writer left half-written."""
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != LOG_FILE:
            left.unlink()


def _write_manifest(out: Path, description: Mapping[str, Any], outcomes: Sequence[ExportOutcome]) -> None:
    """Writes `out/manifest.json`, the whole file or nothing."""
    _write_json(out / "manifest.json", {**description, "files": [outcome.to_dict() for outcome in outcomes]})


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the whole file or nothing."""
    partial = path.with_suffix(".partial")
    partial.write_text(
        json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    partial.replace(path)
