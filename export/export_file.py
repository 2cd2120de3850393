"""One format of an export: its file is written by a process of its own, run by its runtime, and put in place."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.folders.ledger import Ledger
from compress.folders.writing import write_atomic
from export import EXPORTERS, Exporter
from export.job import Job, StepJob, write
from export.manifest import FileSpec, WrittenFile, sha256_of, size_bytes_of
from export.out_folder import LOG_FILE, begin, place_of, put_in_place
from export.outcome import ExportOutcome, StepOutcome
from export.process.child import in_a_sentence, run_in_child
from export.quantize.weight_only import WEIGHT_SCHEMES
from export.trial import REFERENCE, Trial
from export.verify.acceptance import judge
from export.verify.culprit import find_culprit
from export.verify.execute import execute

if TYPE_CHECKING:
    from export.quantize.layer_noise import LayerError

PROGRAM_FILE, STEP_FILE = "program.pt2", "step.pt2"

TIME_LIMIT_S = 3600.0
"""A writer that takes longer hangs: the largest networks take minutes."""

LISTED_LAYERS = 20
"""How many layers the row of an int8 file names that is wrong or lost much."""

NAMED_LAYERS = 3
"""How many layers the note about what was lost names."""

_NOT_RUN = "the file was written, and its runtime does not run it"

NOT_THE_FILE = (
    "layers are ranked in the torch int8 reference, which this file does not follow: they explain what the "
    "quantization loses, not what is wrong with the file"
)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What every file is held against."""

    trial: Trial
    rank_layers: Callable[[], tuple[LayerError, ...]] | None = None
    """Ranks the layers of the int8 reference, worst first: asked for when an int8 file is wrong or lost much."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the formats of one scheme share."""

    spec: FileSpec
    step: FileSpec | None
    scheme: str
    scratch: Path
    """Where programs and samples lie."""
    ledger: Ledger
    """Of the folder that is written into."""
    proof: Proof | None
    notes: tuple[str, ...] = ()
    """What is to be said of every file."""


def export_format(name: str, work: Work) -> ExportOutcome:
    """Writes one format into a folder of its own, runs the file, and puts the folder in place of the one before."""
    exporter, scheme, scratch = EXPORTERS[name], work.scheme, work.scratch
    place = place_of(name, scheme)
    partial = begin(place, work.ledger)
    path = partial / f"model{exporter.extension}"
    order = {
        "clip_layout": exporter.clip_layout,
        "token_dtype": exporter.token_dtype,
        "flag_dtype": exporter.flag_dtype,
    }
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
    ended = run_in_child(
        write, job, who="the converter", log=log, time_limit_s=TIME_LIMIT_S, writer=exporter.module
    )
    seconds = time.monotonic() - started
    written: WrittenFile | None = ended.value
    outcome = ExportOutcome(
        format=name,
        scheme=scheme,
        runtime=exporter.runtime,
        path=None,
        failure=ended.reason,
        log=Path(place, LOG_FILE),
        seconds=seconds,
        peak_rss_bytes=ended.peak_rss_bytes,
    )
    if written is not None:
        outcome = replace(
            outcome,
            path=Path(place, path.name),
            size_bytes=size_bytes_of(path),
            sha256=sha256_of(path),
            inputs=written.inputs,
            outputs=written.outputs,
            notes=(*work.notes, *written.notes),
            coverage=written.coverage,
            step=_step_outcome(place, written.step, job),
        )
        if work.proof is not None:
            outcome = _proved(outcome, written, work, job)
    if outcome.path is None:
        _keep_only_log(partial)
    else:
        row = outcome.to_dict() | {"path": path.name, "log": LOG_FILE}
        if outcome.step is not None:
            row["step"] |= {"path": outcome.step.path.name}
        write_json(partial / "model.json", {**work.spec.description, "file": row})
    put_in_place(partial, place, work.ledger)
    return outcome


def _step_outcome(place: str, written: WrittenFile | None, job: Job) -> StepOutcome | None:
    if written is None:
        return None
    assert job.step is not None
    return StepOutcome(
        path=Path(place, written.path.name),
        entry=written.entry,
        size_bytes=size_bytes_of(written.path),
        sha256=sha256_of(written.path),
        inputs=written.inputs,
        outputs=written.outputs,
        states=job.step.spec.states,
        notes=written.notes,
        coverage=written.coverage,
    )


def _proved(outcome: ExportOutcome, written: WrittenFile, work: Work, job: Job) -> ExportOutcome:
    """The outcome with what the file answered, and the worst layers of an int8 file that is wrong or lost much."""
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
    if executed.available and executed.outputs is None:
        return _refused(outcome, executed.reason, work, job)
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
        if stepped.available and stepped.outputs is None:
            return _withdrawn(outcome, f"frame by frame, {_NOT_RUN}: {stepped.reason}")
        after = judge(stepped, trial, scheme=outcome.scheme, outputs=names)
        outcome = replace(outcome, step=replace(outcome.step, parity=after))
    return _explained(outcome, proof)


def _explained(outcome: ExportOutcome, proof: Proof) -> ExportOutcome:
    """The outcome with what rounding took from it, if that is much, and the layers that cost most."""
    parity, step = outcome.parity, outcome.step
    after = None if step is None else step.parity
    judged = [one for one in (parity, after) if one is not None]
    if not any(one.wrong or one.lost for one in judged):
        return outcome
    layers: tuple[LayerError, ...] = ()
    unranked = ""
    if outcome.scheme == "w8a8" and proof.rank_layers is not None:
        try:
            layers = proof.rank_layers()
        except Exception as error:  # the file is written: what explains it is not to take it away
            unranked = f"; its layers cannot be ranked: {in_a_sentence(error)}"
    causes = _causes(layers) + unranked
    if parity is not None and parity.lost is not None:
        outcome = replace(outcome, notes=(*outcome.notes, parity.lost + causes))
    elif layers and parity is not None and parity.at_fault == "file":
        outcome = replace(outcome, notes=(*outcome.notes, NOT_THE_FILE))
    if step is not None and after is not None and after.lost is not None:
        outcome = replace(outcome, step=replace(step, notes=(*step.notes, after.lost + causes)))
    return replace(outcome, layers=layers[:LISTED_LAYERS])


def _causes(layers: Sequence[LayerError]) -> str:
    """What is said behind a loss: the layers that cost most, each once though lowering may have taken it apart."""
    tried = [layer for layer in layers if layer.alone_sqnr_db is not None]
    worst = {(layer.layer, layer.place): layer for layer in reversed(tried)}  # the first of each remains
    if not worst:
        return ""
    named = [
        f"{layer.layer} ({layer.alone_sqnr_db:.0f} dB, {layer.place})"
        for layer in sorted(worst.values(), key=lambda layer: layer.alone_sqnr_db or 0)[:NAMED_LAYERS]
    ]
    of = "" if len(tried) == len(layers) else f" of the {len(worst)} that there was time to try"
    return f"; the layers that cost most{of}, with the SQNR when one alone is int8: {', '.join(named)}"


def _refused(outcome: ExportOutcome, reason: str | None, work: Work, job: Job) -> ExportOutcome:
    """The outcome of a file that its runtime refuses or crashes on: it is taken away, and the operator is named."""
    culprit = find_culprit(job, format=outcome.format, network=work.spec, log=job.path.parent / LOG_FILE)
    return _withdrawn(outcome, f"{_NOT_RUN}: {reason}; {culprit}")


def _withdrawn(outcome: ExportOutcome, failure: str) -> ExportOutcome:
    """The outcome without a file: nobody is to ship one that ends the application."""
    return replace(
        outcome,
        path=None,
        failure=failure,
        size_bytes=None,
        sha256=None,
        inputs=(),
        outputs=(),
        coverage=None,
        parity=None,
        step=None,
    )


def _keep_only_log(folder: Path) -> None:
    """Removes what a failed writer left half-written."""
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != LOG_FILE:
            left.unlink()


def _lowering(exporter: Exporter, scheme: str) -> str | None:
    """The module that lowers for `exporter`; rounded weights are those of the plain lowering in every format."""
    if scheme == "w8a8":
        return exporter.int8_lowering
    return exporter.lowering if scheme == "fp32" else "export.lower"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the whole file or nothing."""
    write_atomic(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
