"""Exports one format: a separate process writes the file, its runtime runs it, and the folder is put in place."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from compress.folders.ledger import Ledger
from compress.folders.writing import write_atomic
from export import EXPORTERS, Exporter
from export.choice import STEP, Forms
from export.chosen_form import ChosenForm
from export.job import FormsJob, Job, StepJob, Undecided, write
from export.manifest import FileSpec, WrittenFile, sha256_of, size_bytes_of
from export.out_folder import LOG_FILE, begin, place_of, put_in_place
from export.outcome import ExportOutcome, StepOutcome
from export.process.child import Ended, in_a_sentence, run_in_child
from export.quantize.weight_only import WEIGHT_SCHEMES
from export.targets import BATCHED
from export.trial import REFERENCE, Trial
from export.verify.acceptance import check_parity
from export.verify.culprit import find_culprit
from export.verify.execute import execute

if TYPE_CHECKING:
    from export.quantize.layer_noise import LayerError

PROGRAM_FILE, STEP_FILE = "program.pt2", "step.pt2"
CALIBRATION_FOLDER = "calibration"

TIME_LIMIT_S = 3600.0
"""A writer that takes longer counts as hung: the largest networks take minutes."""

LISTED_LAYERS = 20
"""Number of layers that are named for an int8 file that is wrong or has a high quantization cost."""

NAMED_LAYERS = 3
"""Number of layers in the note about the quantization cost."""

_NOT_RUN = "the file was written, and its runtime does not run it"

_RANKING = Lock()
"""Held while layers are ranked, which happens in this process, once for all files."""

NOT_THE_FILE = (
    "layers are ranked in the torch int8 reference, which this file does not match: they explain the "
    "quantization cost, not what is wrong with the file"
)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The reference for the checks of every file."""

    trial: Trial
    rank_layers: Callable[[], tuple[LayerError, ...]] | None = None
    """Ranks the layers of the int8 reference, worst first. Called if an int8 file is wrong or has a high cost, by
    one thread at a time."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Data shared by the formats of one scheme."""

    spec: FileSpec
    step: FileSpec | None
    scheme: str
    scratch: Path
    """Folder of programs and samples."""
    rounded: bool
    """Whether the programs are lowered and their weights rounded."""
    ledger: Ledger
    """Ledger of the output folder."""
    forms: Forms
    """How forms are chosen."""
    proof: Proof | None
    group_size: int | None = None
    """Largest number of int4 weights of an output channel that share a scale; None for all of them."""
    notes: tuple[str, ...] = ()
    """Notes on every file."""
    float_layers: tuple[str, ...] = ()
    """Layers of an int8 network that stay in float."""


def export_format(name: str, work: Work) -> ExportOutcome:
    """Writes one format into a temporary folder, runs the file, and replaces the previous folder."""
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
        lowering=_lowering(exporter, scheme, rounded=work.rounded),
        forms=_forms(name, work),
        stored=scheme in WEIGHT_SCHEMES and scheme not in exporter.rounds_weights and not work.rounded,
        group_size=work.group_size,
        step=None
        if work.step is None
        else StepJob(program=scratch / STEP_FILE, spec=work.step.arranged(**order)),
        samples=None if work.proof is None else scratch,
        quantizer=exporter.quantizers.get(scheme),
        calibration=scratch / CALIBRATION_FOLDER,
    )
    log = partial / LOG_FILE
    started = time.monotonic()
    ended = run_in_child(
        write, job, who="the converter", log=log, time_limit_s=TIME_LIMIT_S, writer=exporter.module
    )
    seconds = time.monotonic() - started
    written, failure = _measured_elsewhere(ended, name, work)
    outcome = ExportOutcome(
        format=name,
        scheme=scheme,
        runtime=exporter.runtime,
        path=None,
        failure=failure,
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
            float_layers=work.float_layers,
            coverage=written.coverage,
            form=written.form,
            needs=written.needs,
            saturating_layers=written.saturating_layers,
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


def _forms(name: str, work: Work) -> FormsJob | None:
    """The choice among the forms of a float network, for a format that has several."""
    exporter = EXPORTERS[name]
    if exporter.forms is None or work.scheme != "fp32" or work.rounded:
        return None
    file = f"{name}.{work.scheme}"
    return FormsJob(
        module=exporter.forms,
        runner=exporter.runner,
        file=file,
        clip=work.forms.of(file),
        step=work.forms.of(f"{file}.{STEP}"),
    )


def _measured_elsewhere(ended: Ended, name: str, work: Work) -> tuple[WrittenFile | None, str | None]:
    """The written file, whose form a device may still decide, or the reason why there is none.

    Raises RuntimeError if the device is lost: another machine must not decide in its place.
    """
    written: WrittenFile | Undecided | None = ended.value
    if not isinstance(written, Undecided):
        return written, ended.reason
    assert work.forms.stopwatch is not None
    try:
        return written.decided(work.forms.stopwatch, format=name, scheme=work.scheme), None
    except ValueError as error:
        return None, str(error)


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
        form=written.form,
        needs=written.needs,
        saturating_layers=written.saturating_layers,
    )


def _proved(outcome: ExportOutcome, written: WrittenFile, work: Work, job: Job) -> ExportOutcome:
    """The outcome with the checks of the file, and the worst layers of an int8 file that is wrong or costs much."""
    proof = work.proof
    assert proof is not None
    trial = proof.trial
    if written.reference_outputs is not None:
        trial = trial.with_outputs({REFERENCE: written.reference_outputs})
    names = [info.name for info in work.spec.outputs]
    common: dict[str, Any] = {
        "format": outcome.format,
        "samples": work.scratch,
        "log": job.path.parent / LOG_FILE,
    }
    executed = execute(written.path, network=work.spec, file=job.spec, entry=written.entry, **common)
    if executed.available and executed.outputs is None:
        return _refused(outcome, executed.reason, work, job, form=written.form)
    parity = check_parity(executed, trial, scheme=outcome.scheme, outputs=names)
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
        after = check_parity(stepped, trial, scheme=outcome.scheme, outputs=names)
        outcome = replace(outcome, step=replace(outcome.step, parity=after))
    return _explained(outcome, proof)


def _explained(outcome: ExportOutcome, proof: Proof) -> ExportOutcome:
    """The outcome with the quantization cost, if it is high, and the layers that contribute most."""
    parity, step = outcome.parity, outcome.step
    after = None if step is None else step.parity
    checked = [one for one in (parity, after) if one is not None]
    if not any(one.wrong or one.quantization_cost for one in checked):
        return outcome
    layers: tuple[LayerError, ...] = ()
    unranked = ""
    if outcome.scheme == "w8a8" and proof.rank_layers is not None:
        try:
            with _RANKING:
                layers = proof.rank_layers()
        except Exception as error:  # the file is complete: a failed explanation must not remove it
            unranked = f"; its layers cannot be ranked: {in_a_sentence(error)}"
    causes = _causes(layers) + unranked
    if parity is not None and parity.quantization_cost is not None:
        outcome = replace(outcome, notes=(*outcome.notes, parity.quantization_cost + causes))
    elif layers and parity is not None and parity.at_fault == "file":
        outcome = replace(outcome, notes=(*outcome.notes, NOT_THE_FILE))
    if step is not None and after is not None and after.quantization_cost is not None:
        outcome = replace(outcome, step=replace(step, notes=(*step.notes, after.quantization_cost + causes)))
    return replace(outcome, layers=layers[:LISTED_LAYERS])


def _causes(layers: Sequence[LayerError]) -> str:
    """The end of the note on quantization cost: the layers that cost most, each once even if lowering split it."""
    tried = [layer for layer in layers if layer.alone_sqnr_db is not None]
    worst = {(layer.layer, layer.place): layer for layer in reversed(tried)}  # keeps the first of each
    if not worst:
        return ""
    named = [
        f"{layer.layer} ({layer.alone_sqnr_db:.0f} dB, {layer.place})"
        for layer in sorted(worst.values(), key=lambda layer: layer.alone_sqnr_db or 0)[:NAMED_LAYERS]
    ]
    of = "" if len(tried) == len(layers) else f" of the {len(worst)} tried in the time limit"
    return f"; the layers that cost most{of}, with the SQNR when one alone is int8: {', '.join(named)}"


def _refused(
    outcome: ExportOutcome, reason: str | None, work: Work, job: Job, *, form: ChosenForm | None
) -> ExportOutcome:
    """The outcome of a file that its runtime refuses or crashes on: the file is removed and the operator named."""
    if job.forms is not None:
        job = replace(job, forms=job.forms.in_form(BATCHED if form is None else form.name))
    culprit = find_culprit(job, format=outcome.format, network=work.spec, log=job.path.parent / LOG_FILE)
    return _withdrawn(outcome, f"{_NOT_RUN}: {reason}; {culprit}")


def _withdrawn(outcome: ExportOutcome, failure: str) -> ExportOutcome:
    """The outcome without a file, so that a file that crashes an application is not shipped."""
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
        form=None,
        needs=None,
        saturating_layers=(),
    )


def _keep_only_log(folder: Path) -> None:
    """Removes the partial files of a failed writer."""
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != LOG_FILE:
            left.unlink()


def _lowering(exporter: Exporter, scheme: str, *, rounded: bool) -> str | None:
    """The lowering module of `exporter`; formats with rounded weights all use the plain lowering.

    None for a program that is lowered already.
    """
    if scheme == "w8a8":
        return exporter.int8_lowering
    if rounded:
        return None
    return exporter.lowering if scheme == "fp32" else "export.lower"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the file atomically."""
    write_atomic(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
