"""Writes a network into files of several formats, each by a process of its own, and the manifest beside them."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from export import EXPORTERS, Exporter
from export.job import Job, Result, run_job
from export.manifest import FileSpec, TensorInfo, sha256_of, size_bytes_of

LOG_FILE = "convert.log"

Progress = Callable[[str, int, int], None]
"""`progress(format, done, total)`, called before each format is written."""


@dataclass(frozen=True, kw_only=True)
class ExportOutcome:
    """What came of one format; one row of the manifest's `files`."""

    format: str
    scheme: str
    runtime: str
    path: Path | None
    """The file (or package folder) relative to the export folder; `None` when it failed."""
    reason: str | None
    """Why there is no file, in one sentence; `None` when there is one."""
    log: Path
    """What the converter printed, relative to the export folder."""
    seconds: float
    peak_rss_bytes: int | None
    """Peak memory of the converter's process; `None` when it crashed."""
    size_bytes: int | None = None
    sha256: str | None = None
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """`exported` or `failed`."""
        return "failed" if self.path is None else "exported"

    def to_dict(self) -> dict[str, Any]:
        """The row as plain data, paths relative to the export folder."""
        return {
            "format": self.format,
            "path": None if self.path is None else self.path.as_posix(),
            "scheme": self.scheme,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "runtime": self.runtime,
            "inputs": [info.to_dict() for info in self.inputs],
            "outputs": [info.to_dict() for info in self.outputs],
            "status": self.status,
            "reason": self.reason,
            "seconds": round(self.seconds, 2),
            "peak_rss_bytes": self.peak_rss_bytes,
            "log": self.log.as_posix(),
            "notes": list(self.notes),
        }


def export_files(
    program: ExportedProgram,
    spec: FileSpec,
    *,
    formats: Sequence[str],
    scheme: str,
    out: Path,
    progress: Progress | None = None,
) -> list[ExportOutcome]:
    """Writes `out/<format>/model.<extension>` for every format, and `out/manifest.json`.

    `program` is the network as captured (`export.capture`) for the float schemes, which every format lowers for its
    own runtime; for `w8a8` it is the captured int8 reference (`quantized_decomposed` operators), which is lowered
    already. `spec` says what it takes and gives. Each folder is replaced as a whole, and holds the file,
    `model.json` (the file's description, for when it travels alone) and `convert.log`. A network that cannot be
    lowered for a format, a writer that fails, or crashes its process, costs its own format only: its outcome
    carries the reason.

    Raises ValueError for an unknown format, a scheme that a format does not take, and a graph that does not
    fit the scheme.
    """
    _check(program, formats=formats, scheme=scheme)
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / "manifest.json"
    manifest.unlink(missing_ok=True)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="pocketreel-export-") as scratch:
        saved = Path(scratch) / "program.pt2"
        torch.export.save(program, saved)
        for done, name in enumerate(formats):
            if progress is not None:
                progress(name, done, len(formats))
            outcomes.append(_export(name, saved, spec, scheme=scheme, out=out))
    rows = [outcome.to_dict() for outcome in outcomes]
    _write_json(manifest, {**spec.description, "files": rows})
    return outcomes


def _check(program: ExportedProgram, *, formats: Sequence[str], scheme: str) -> None:
    for name in formats:
        if name not in EXPORTERS:
            raise ValueError(f"format {name!r} is unknown; known are {', '.join(EXPORTERS)}")
        schemes = EXPORTERS[name].schemes
        if scheme not in schemes:
            raise ValueError(
                f"format {name!r} does not take scheme {scheme!r}; it takes {', '.join(schemes)}"
            )
    quantized = any("quantized_decomposed" in str(node.target) for node in program.graph.nodes)
    if quantized != (scheme == "w8a8"):
        graph, wanted = ("an int8", "w8a8") if quantized else ("a float", "fp32 or fp16")
        raise ValueError(f"scheme {scheme!r} was given {graph} graph; such a graph is written as {wanted}")


def _export(name: str, program: Path, spec: FileSpec, *, scheme: str, out: Path) -> ExportOutcome:
    """Writes one format into a folder of its own, and puts that in place of the one before."""
    exporter = EXPORTERS[name]
    partial, final = out / f".{name}.partial", out / name
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    path = partial / f"model{exporter.extension}"
    job = Job(
        module=exporter.module,
        program=program,
        path=path,
        spec=spec.arranged(clip_layout=exporter.clip_layout, token_dtype=exporter.token_dtype),
        scheme=scheme,
        lowering=None if scheme == "w8a8" else exporter.lowering,
    )
    started = time.monotonic()
    result = run_job(job, log=partial / LOG_FILE)
    seconds = time.monotonic() - started
    outcome = _outcome(name, exporter, result, scheme=scheme, path=path, seconds=seconds)
    if outcome.path is not None:
        row = {**outcome.to_dict(), "path": path.name, "log": LOG_FILE}
        _write_json(partial / "model.json", {**spec.description, "file": row})
    else:
        _keep_only_log(partial)
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    return outcome


def _keep_only_log(folder: Path) -> None:
    """Removes what a failed writer left half-written."""
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != LOG_FILE:
            left.unlink()


def _outcome(
    name: str, exporter: Exporter, result: Result, *, scheme: str, path: Path, seconds: float
) -> ExportOutcome:
    written = result.written
    return ExportOutcome(
        format=name,
        scheme=scheme,
        runtime=exporter.runtime,
        path=Path(name, path.name) if written else None,
        reason=result.reason,
        log=Path(name, LOG_FILE),
        seconds=seconds,
        peak_rss_bytes=result.peak_rss_bytes,
        size_bytes=size_bytes_of(path) if written else None,
        sha256=sha256_of(path) if written else None,
        inputs=written.inputs if written else (),
        outputs=written.outputs if written else (),
        notes=written.notes if written else (),
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes the whole file or nothing."""
    partial = path.with_suffix(".partial")
    partial.write_text(
        json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    partial.replace(path)
