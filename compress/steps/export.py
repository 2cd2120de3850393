"""The step that writes files."""

from __future__ import annotations

import copy
import json
import shutil
from typing import Any

import torch
from rich.markup import escape
from torch.export import ExportedProgram

from compress import __version__
from compress.artifact import Artifact, Form
from compress.console import bar
from compress.steps.run import Run, StageOutcome, StepFailed
from compress.store import content_key
from export.capture import capture
from export.files import export_files
from export.manifest import file_spec


def export(run: Run, final: StageOutcome) -> list[dict[str, Any]]:
    """Writes the recipe's formats into `export/` and gives the rows of its manifest.

    The files of an earlier run are kept when nothing has changed and none of them had failed.
    """
    folder = run.folder / "export"
    key = content_key(upstream=final.key, formats=run.recipe.export.formats, scheme=run.recipe.scheme)
    manifest = folder / "manifest.json"
    if manifest.is_file():
        earlier = json.loads(manifest.read_text())
        whole = all(row["status"] == "exported" for row in earlier["files"])
        if whole and earlier["provenance"].get("key") == key:
            run.console.print(f"[bold]export[/]: {len(earlier['files'])} files (already done)")
            return earlier["files"]
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with bar(run.console, "export") as report:
            export_files(
                _program(final.artifact),
                file_spec(final.artifact.spec, provenance=_provenance(run, final, key=key)),
                formats=run.recipe.export.formats,
                scheme=run.recipe.scheme,
                out=folder,
                progress=report,
            )
    except (ValueError, RuntimeError, OSError) as error:
        raise StepFailed(f"export: {error}") from error
    rows = json.loads(manifest.read_text())["files"]
    for row in rows:
        if row["status"] == "exported":
            size = row["size_bytes"] / 1e6
            run.console.print(f"[bold]export.{row['format']}[/]: {size:.2f} MB in {row['seconds']:.0f} s")
        else:
            run.console.print(f"[bold red]export.{row['format']} failed[/]: {escape(row['reason'])}")
    return rows


def _program(artifact: Artifact) -> ExportedProgram:
    """The network as captured; a quantized artifact is a graph already, the int8 reference."""
    example = artifact.spec.example()
    if artifact.form is Form.QUANTIZED:
        return torch.export.export(artifact.model, example)
    return capture(copy.deepcopy(artifact.model).cpu(), example)


def _provenance(run: Run, final: StageOutcome, *, key: str) -> dict[str, Any]:
    return {
        "project": "pocketreel",
        "version": __version__,
        "recipe": run.recipe.name,
        "seed": run.recipe.seed,
        "data": run.recipe.data.model_dump(mode="json", exclude={"manifest", "root"}),
        "stages": [record.name for record in final.artifact.history],
        "key": key,
    }
