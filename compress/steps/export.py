"""The export step: writes files."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule

from benchmarks.files import FileId
from compress import __version__
from compress.artifact import Artifact, Form
from compress.command.progress import bar
from compress.command.terminal import headed
from compress.folders.keys import Key
from compress.folders.ledger import Ledger
from compress.folders.results import reason_against
from compress.folders.source import imports_of
from compress.recipe.sections import paths_in
from compress.steps.forms import chosen_forms, code_of_forms, key_of_forms
from compress.steps.pipeline import Run, StageOutcome, StepFailed
from compress.steps.reference_clip import NAMES as REFERENCE_NAMES
from compress.steps.reference_clip import write_reference
from compress.store import content_key
from compress.versions import FILES, installed
from export import EXPORTERS, QUANTIZED_BY_OTHERS
from export.capture.graph import capture
from export.capture.stepping import Stepper, step_network, step_spec, stepper
from export.export_file import Proof
from export.files import Variant, export_files
from export.lower import lower
from export.manifest import FileSpec, file_spec
from export.network import RANKED_INPUTS
from export.out_folder import MANIFEST_FILE, adding
from export.trial import FLOAT, REFERENCE, Trial, run_networks
from export.verify.acceptance import HIGH_COST
from models.spec import describe_state

if TYPE_CHECKING:
    from export.quantize.layer_noise import LayerError

PARITY_CLIPS = 8
"""Number of test clips for the parity check after export; the benchmark step uses all of them."""

CALIBRATION_CLIPS = 128
"""Number of training clips for files that another tool quantizes."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The exported files of a run."""

    folder: Path
    rows: list[dict[str, Any]]
    """Rows of the manifest."""
    key: str


def export(run: Run, networks: Mapping[str, StageOutcome]) -> Exported:
    """Writes the files of the recipe to `export/` and returns the rows of its manifest.

    `networks` has the network of each scheme. Files of a network that was quantized without training are also
    compared with the float network before. The files of an earlier run are used if nothing
    has changed, all files are intact, and none had failed.

    Raises `StepFailed`, also for a device that chooses forms and is lost: no other machine takes its place.
    """
    folder = run.folder / "export"
    provenance = _provenance(run, networks)
    key = content_key(
        code=[*_code(run.recipe.export.formats), *code_of_forms(run.recipe.export)],
        alone=[__name__, "compress.steps.forms"],
        upstream={scheme: outcome.key for scheme, outcome in networks.items()},
        provenance=provenance,
        formats=run.recipe.export.formats,
        forms=key_of_forms(run.recipe.export),
        files=installed(FILES),
    )
    reasons = []
    for place in (folder, *(earlier / "export" for earlier in run.finished)):
        ledger = Ledger.read(place)
        if ledger is None:
            continue
        reason = reason_against(ledger, key, notify=run.notify)
        if reason is None:
            rows = _rows(place)
            run.console.print(headed("export", f"{len(rows)} files (already done)"))
            return Exported(folder=place, rows=rows, key=key)
        reasons.append(reason)
    for reason in reasons[:1]:
        run.notify(f"export: computed again, because {reason}")
    before = Ledger.read(folder)
    if before is not None:
        before.clear()
    try:
        with chosen_forms(run.recipe.export) as forms, bar(run.console, "export", unit=" files") as report:
            spec = file_spec(run.student_spec, provenance=provenance)
            variants = [_variant(run, scheme, outcome, spec) for scheme, outcome in networks.items()]
            export_files(
                variants,
                spec,
                formats=run.recipe.export.formats,
                out=folder,
                forms=forms,
                progress=report,
            )
            with adding(folder, REFERENCE_NAMES):
                write_reference(
                    folder,
                    networks={scheme: _runnable(outcome.artifact) for scheme, outcome in networks.items()},
                    spec=spec,
                    clips=run.student_spec,
                    steps={one.scheme: one.step.spec for one in variants if one.step is not None},
                )
    except (ValueError, RuntimeError, OSError) as error:
        raise StepFailed(f"export: {error}") from error
    rows = _rows(folder)
    _note_key(folder, key, whole=all(row["status"] == "exported" for row in rows))
    for row in rows:
        if row["status"] == "exported":
            made = f"{row['size_bytes'] / 1e6:.2f} MB in {row['seconds']:.0f} s"
            run.console.print(headed(f"export.{file_id(row)}", made))
        else:
            what = "failed" if row["status"] == "failed" else "misses its pass criterion"
            head = f"export.{file_id(row)} {what}"
            run.console.print(headed(head, row["reason"], style="bold red"))
        for note in _losses(row):
            run.console.print(headed(f"export.{file_id(row)}", note, style="bold yellow"))
    return Exported(folder=folder, rows=rows, key=key)


def file_id(row: Mapping[str, Any]) -> FileId:
    """The format and scheme of a row of the manifest."""
    return FileId(row["format"], row["scheme"])


def _losses(row: dict[str, Any]) -> list[str]:
    """Notes on the quantization cost of a file, with the layers that cost most."""
    found = [note for note in row["notes"] if note.startswith(HIGH_COST)]
    step = [] if row["step"] is None else row["step"]["notes"]
    return found + [f"frame by frame: {note}" for note in step if note.startswith(HIGH_COST)]


def _code(formats: Sequence[str]) -> list[str]:
    """The modules that write files of these formats."""
    code = ["compress.steps.reference_clip", *imports_of(__name__, package="export")]
    return code + [module for name in formats for module in EXPORTERS[name].modules]


def _rows(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["files"]


def _note_key(folder: Path, key: Key, *, whole: bool) -> None:
    ledger = Ledger.read(folder)
    assert ledger is not None
    ledger.about = {"key": str(key), "parts": dict(key.parts), "made": whole}
    if not whole:
        ledger.about["why"] = "one of its files failed or missed its pass criterion"
    ledger.save()


def _variant(run: Run, scheme: str, outcome: StageOutcome, spec: FileSpec) -> Variant:
    """The network of a scheme, with the references of its files."""
    artifact = outcome.artifact
    before = None if outcome.rounded_from is None else outcome.rounded_from.artifact
    return Variant(
        scheme=scheme,
        program=_program(artifact),
        proof=_proof(run, artifact, rounded=before),
        step=_stepper(run, artifact, spec) if artifact.streams else None,
        calibration=_calibration(run, artifact) if scheme in QUANTIZED_BY_OTHERS else None,
    )


def _calibration(run: Run, artifact: Artifact) -> dict[str, np.ndarray]:
    """Training clips for tools that quantize a file: input name -> one array with the batch size 1 of each call."""
    clips = run.data.train.for_spec(artifact.spec)
    count = min(CALIBRATION_CLIPS, len(clips))
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(run.recipe.seed))
    return {
        name: tensor.unsqueeze(1).numpy()
        for name, tensor in zip(artifact.spec.inputs, clips.batch(order[:count].tolist()), strict=True)
    }


def _program(artifact: Artifact) -> ExportedProgram:
    """The captured network; a quantized artifact is already a graph, the int8 reference."""
    example = artifact.spec.example()
    if artifact.form is Form.QUANTIZED:
        return torch.export.export(artifact.model, example)
    return capture(copy.deepcopy(artifact.model).cpu(), example)


def _stepper(run: Run, artifact: Artifact, spec: FileSpec) -> Stepper:
    """The step program; a quantized artifact already has one, except for the names of its states."""
    clip = artifact.spec.example()[0]
    if artifact.step is None:
        return stepper(copy.deepcopy(artifact.model).cpu(), clip, spec)
    network, _ = step_network(run.build_student(), clip)
    assert artifact.step.example_inputs is not None
    states = dict(zip(network.names, artifact.step.example_inputs[0][1:], strict=True))
    return Stepper(
        program=artifact.step, spec=step_spec(spec, describe_state(states), network.passed_through)
    )


def _proof(run: Run, artifact: Artifact, *, rounded: Artifact | None) -> Proof:
    """The references of the files; for two networks, also the ranking of layers by quantization cost."""
    trial = _trial(run, artifact, rounded=rounded)
    if rounded is None:
        return Proof(trial=trial)

    @functools.cache
    def ranked() -> tuple[LayerError, ...]:
        from export.quantize.layer_noise import rank_layers

        assert rounded is not None and isinstance(artifact.model, GraphModule)
        network = capture(copy.deepcopy(rounded.model).cpu(), artifact.spec.example())
        return rank_layers(lower(network), artifact.model, _some(trial))

    return Proof(trial=trial, rank_layers=ranked)


def _some(trial: Trial) -> list[tuple[Tensor, ...]]:
    """Inputs for ranking layers."""
    arrays = [torch.from_numpy(np.asarray(array[:RANKED_INPUTS])) for array in trial.inputs.values()]
    return list(zip(*arrays, strict=True))


def _trial(run: Run, artifact: Artifact, *, rounded: Artifact | None) -> Trial:
    """A few test clips with the logits of the artifact and of the float network that was quantized."""
    clips = run.data.test.for_spec(artifact.spec)
    count = min(PARITY_CLIPS, len(clips))
    chosen = torch.linspace(0, len(clips) - 1, count).round().long()  # the split may be sorted by class
    arrays: dict[str, np.ndarray] = {
        name: tensor.unsqueeze(1).numpy()
        for name, tensor in zip(artifact.spec.inputs, clips.batch(chosen.tolist()), strict=True)
    }
    source = f"{count} of {len(clips)} test clips"
    network = _runnable(artifact)
    if artifact.form is Form.FLOAT:
        return run_networks({FLOAT: network}, arrays, source=source)
    networks = {REFERENCE: network}
    if rounded is not None:
        networks[FLOAT] = copy.deepcopy(rounded.model).cpu()
    return run_networks(networks, arrays, source=source)


def _runnable(artifact: Artifact) -> nn.Module:
    """The torch network of the artifact, for single clips on the CPU."""
    if artifact.form is Form.FLOAT:
        return copy.deepcopy(artifact.model).cpu()
    from export.quantize.int8_reference import for_evaluation

    assert isinstance(artifact.model, GraphModule)
    return for_evaluation(artifact.model)


def _provenance(run: Run, networks: Mapping[str, StageOutcome]) -> dict[str, Any]:
    """Provenance of the files, independent of the machine and of paths."""
    paths = {str(place[0]) for place, _ in paths_in(run.recipe.data)}
    longest = max((outcome.artifact.history for outcome in networks.values()), key=len)
    return {
        "project": "pocketreel",
        "version": __version__,
        "recipe": run.recipe.name,
        "seed": run.recipe.seed,
        "data": run.recipe.data.model_dump(mode="json", exclude=paths),
        "stages": [record["name"] for record in longest],
        "key": run.origin,
    }
