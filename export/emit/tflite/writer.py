"""Writes `.tflite` files for LiteRT: float or int8, channels last, without unnecessary transposes.

The flatbuffer is written directly from the ATen graph, operator by operator (see `export.emit.tflite`), so that the
scales and zero points in the file are exactly those of the torch reference.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from export import EXPORTERS, require
from export.capture.stepping import Stepper
from export.layout.stream_order import stream
from export.manifest import FileSpec, WrittenFile
from export.verify.coverage.on_litert import litert_coverage
from export.verify.coverage.report import attempt

if TYPE_CHECKING:
    from export.emit.tflite.graph import Graph

METADATA = "pocketreel"
"""Name of the metadata entry that holds the file's description as JSON."""


def load_backend() -> None:
    """Imports the libraries that write and run the files. Raises ImportError, with the `pip` command."""
    require("tflite", "ai_edge_litert.schema_py_generated", "flatbuffers", "ai_edge_litert.interpreter")


def write(
    program: ExportedProgram, path: Path, *, spec: FileSpec, scheme: str, step: Stepper | None = None
) -> WrittenFile:
    """Writes the program to `path`, with its description as metadata and a signature `serving_default`.

    `step` becomes a signature of the same file, which stores shared weights once.

    The notes of an int8 file name the operators that compute in float, as in the reference. Raises ImportError
    without ai-edge-litert, ValueError if `spec` does not fit the program, NotImplementedError, with the place in
    the user's source, for operators without a LiteRT form.
    """
    if scheme not in EXPORTERS["tflite"].schemes:
        allowed = ", ".join(EXPORTERS["tflite"].schemes)
        raise ValueError(f"scheme {scheme!r} for .tflite files: choose one of {allowed}")
    require("tflite", "ai_edge_litert.schema_py_generated", "flatbuffers")
    from export.emit.tflite.flatbuffer import SIGNATURE, STEP_SIGNATURE, serialize
    from export.emit.tflite.passes import run_passes
    from export.emit.tflite.translate import translate

    program, form = stream(program, plane_costs=False)
    graphs = {SIGNATURE: translate(program, spec=spec)}
    if step is not None:
        graphs[STEP_SIGNATURE] = translate(step.program, spec=step.spec)
    for graph in graphs.values():
        run_passes(graph, scheme=scheme)
    description = {
        **spec.description,
        "inputs": [info.to_dict() for info in spec.inputs],
        "outputs": [info.to_dict() for info in spec.outputs],
        "classes": spec.classes,
    }
    metadata = {METADATA: json.dumps(description, ensure_ascii=False).encode()}
    path.write_bytes(serialize(graphs, metadata=metadata))
    written = {
        name: _written(graphs[name], path, of, scheme=scheme, entry=name)
        for name, of in zip(graphs, (spec, *([step.spec] if step else [])), strict=True)
    }
    clip = written[SIGNATURE]
    return replace(clip, notes=(*form, *clip.notes), step=written.get(STEP_SIGNATURE))


def _written(graph: Graph, path: Path, spec: FileSpec, *, scheme: str, entry: str) -> WrittenFile:
    from export.emit.tflite.flatbuffer import serialize

    notes = _float_notes(graph) if scheme == "w8a8" else ()
    with tempfile.TemporaryDirectory(prefix="pocketreel-coverage-") as folder:
        alone = Path(folder, path.name)  # the runtime reports only the first graph of a file
        alone.write_bytes(serialize({entry: graph}, metadata={}))
        coverage, unknown = attempt(lambda: litert_coverage(alone, places=graph.places))
    return WrittenFile(
        path=path,
        inputs=spec.inputs,
        outputs=spec.outputs,
        notes=(*notes, *unknown),
        coverage=coverage,
        entry=entry,
    )


def _float_notes(graph: Graph) -> tuple[str, ...]:
    """Operators that compute in float, if there are any."""
    left = Counter(op.kind for op in graph.ops if op.output.dtype == "float32" and op.kind != "DEQUANTIZE")
    if not left:
        return ()
    return ("in float: " + ", ".join(f"{kind} x{count}" for kind, count in sorted(left.items())),)
