"""The step that writes files."""

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
from compress.steps.pipeline import Run, StageOutcome, StepFailed
from compress.steps.reference_clip import NAMES as REFERENCE_NAMES
from compress.steps.reference_clip import write_reference
from compress.store import content_key
from compress.versions import FILES, installed
from export import EXPORTERS
from export.capture.graph import capture
from export.capture.stepping import Stepper, step_network, step_spec, stepper
from export.export_file import Proof
from export.files import Variant, export_files
from export.lower import lower
from export.manifest import FileSpec, file_spec
from export.network import RANKED_INPUTS
from export.out_folder import MANIFEST_FILE, adding
from export.trial import FLOAT, REFERENCE, Trial, ask
from export.verify.acceptance import LOST
from models.spec import describe_state

if TYPE_CHECKING:
    from export.quantize.layer_noise import LayerError

PARITY_CLIPS = 8
"""Test clips on which every file is compared with torch at once; the benchmark step does it on all of them."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The files of a run."""

    folder: Path
    rows: list[dict[str, Any]]
    """Those of the manifest."""
    key: str


def export(
    run: Run, networks: Mapping[str, StageOutcome], *, rounded: StageOutcome | None = None
) -> Exported:
    """Writes the recipe's files into `export/` and gives the rows of its manifest.

    `networks` has what the files of each scheme hold. `rounded` is the float network whose weights the int8 one
    holds, where training has not changed them since: int8 files are compared with it, too. The files of an earlier
    run are kept when nothing has changed, every one of them is as it was written, and none had failed.
    """
    folder = run.folder / "export"
    provenance = _provenance(run, networks)
    key = content_key(
        code=_code(run.recipe.export.formats),
        alone=[__name__],
        upstream={scheme: outcome.key for scheme, outcome in networks.items()},
        provenance=provenance,
        formats=run.recipe.export.formats,
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
        run.notify(f"export: made again, because {reason}")
    before = Ledger.read(folder)
    if before is not None:
        before.clear()
    try:
        with bar(run.console, "export", unit=" files") as report:
            spec = file_spec(run.student_spec, provenance=provenance)
            variants = [
                _variant(run, scheme, outcome.artifact, spec, rounded=rounded)
                for scheme, outcome in networks.items()
            ]
            export_files(variants, spec, formats=run.recipe.export.formats, out=folder, progress=report)
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
            what = "failed" if row["status"] == "failed" else "is wrong"
            head = f"export.{file_id(row)} {what}"
            run.console.print(headed(head, row["reason"], style="bold red"))
        for note in _losses(row):
            run.console.print(headed(f"export.{file_id(row)}", note, style="bold yellow"))
    return Exported(folder=folder, rows=rows, key=key)


def file_id(row: Mapping[str, Any]) -> FileId:
    """Which file a row of the manifest is."""
    return FileId(row["format"], row["scheme"])


def _losses(row: dict[str, Any]) -> list[str]:
    """What rounding took from a file that may well be right, with the layers that cost most."""
    found = [note for note in row["notes"] if note.startswith(LOST)]
    step = [] if row["step"] is None else row["step"]["notes"]
    return found + [f"frame by frame: {note}" for note in step if note.startswith(LOST)]


def _code(formats: Sequence[str]) -> list[str]:
    """The modules that write files of these formats."""
    code = ["compress.steps.reference_clip", *imports_of(__name__, package="export")]
    for exporter in (EXPORTERS[name] for name in formats):
        code += [exporter.module, exporter.lowering, *filter(None, [exporter.int8_lowering])]
    return code


def _rows(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["files"]


def _note_key(folder: Path, key: Key, *, whole: bool) -> None:
    ledger = Ledger.read(folder)
    assert ledger is not None
    ledger.about = {"key": str(key), "parts": dict(key.parts), "made": whole}
    if not whole:
        ledger.about["why"] = "a file of it had failed or was wrong"
    ledger.save()


def _variant(
    run: Run, scheme: str, artifact: Artifact, spec: FileSpec, *, rounded: StageOutcome | None
) -> Variant:
    """The network of a scheme, with what its files are held against."""
    before = rounded.artifact if rounded is not None and artifact.form is Form.QUANTIZED else None
    return Variant(
        scheme=scheme,
        program=_program(artifact),
        proof=_proof(run, artifact, rounded=before),
        step=_stepper(run, artifact, spec) if artifact.streams else None,
    )


def _program(artifact: Artifact) -> ExportedProgram:
    """The network as captured; a quantized artifact is a graph already, the int8 reference."""
    example = artifact.spec.example()
    if artifact.form is Form.QUANTIZED:
        return torch.export.export(artifact.model, example)
    return capture(copy.deepcopy(artifact.model).cpu(), example)


def _stepper(run: Run, artifact: Artifact, spec: FileSpec) -> Stepper:
    """The program for one frame; of a quantized artifact it is there already, but for the names of its states."""
    clip = artifact.spec.example()[0]
    if artifact.step is None:
        return stepper(copy.deepcopy(artifact.model).cpu(), clip, spec)
    network, _ = step_network(run.build_student(), clip)
    assert artifact.step.example_inputs is not None
    states = dict(zip(network.names, artifact.step.example_inputs[0][1:], strict=True))
    return Stepper(program=artifact.step, spec=step_spec(spec, describe_state(states), network.handed_on))


def _proof(run: Run, artifact: Artifact, *, rounded: Artifact | None) -> Proof:
    """What the files are held against; where that is two networks, also what ranks the layers between them."""
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
    """Inputs of the trial that rank layers."""
    arrays = [torch.from_numpy(np.asarray(array[:RANKED_INPUTS])) for array in trial.inputs.values()]
    return list(zip(*arrays, strict=True))


def _trial(run: Run, artifact: Artifact, *, rounded: Artifact | None) -> Trial:
    """A few test clips, and what the artifact itself answers to them, and the network that it was rounded from."""
    clips = run.data.test.for_spec(artifact.spec)
    count = min(PARITY_CLIPS, len(clips))
    chosen = torch.linspace(0, len(clips) - 1, count).round().long()  # the classes stand one after another
    arrays: dict[str, np.ndarray] = {
        name: tensor.unsqueeze(1).numpy()
        for name, tensor in zip(artifact.spec.inputs, clips.batch(chosen.tolist()), strict=True)
    }
    source = f"{count} of {len(clips)} test clips"
    asked = _runnable(artifact)
    if artifact.form is Form.FLOAT:
        return ask({FLOAT: asked}, arrays, source=source)
    networks = {REFERENCE: asked}
    if rounded is not None:
        networks[FLOAT] = copy.deepcopy(rounded.model).cpu()
    return ask(networks, arrays, source=source)


def _runnable(artifact: Artifact) -> nn.Module:
    """The artifact's network as it answers in torch, on the CPU and one clip at a time."""
    if artifact.form is Form.FLOAT:
        return copy.deepcopy(artifact.model).cpu()
    from export.quantize.int8_reference import for_evaluation

    assert isinstance(artifact.model, GraphModule)
    return for_evaluation(artifact.model)


def _provenance(run: Run, networks: Mapping[str, StageOutcome]) -> dict[str, Any]:
    """What made the files: nothing of it depends on the machine, or on where anything lies."""
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
