"""Writes `.tflite` files for LiteRT: float or int8, channels last, no transposes that the arithmetic does not need.

The flatbuffer is written directly from the ATen graph, operator by operator (see `export.tflite`), so that the
scales and zero points in the file are exactly those of the torch reference.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from export import EXPORTERS, require
from export.coverage.on_litert import litert_coverage
from export.coverage.report import attempt
from export.manifest import FileSpec, WrittenFile
from export.streamed import stream

if TYPE_CHECKING:
    from export.tflite.graph import Graph

METADATA = "pocketreel"
"""Name of the metadata entry that holds the file's description as JSON."""


def write(program: ExportedProgram, path: Path, *, spec: FileSpec, scheme: str) -> WrittenFile:
    """Writes the program to `path`, with its description as metadata and a signature `serving_default`.

    The notes of an int8 file name what computes in float, as it does in the reference. Raises ImportError
    without ai-edge-litert, ValueError when `spec` does not fit the program, NotImplementedError for operators
    that have no LiteRT form, with their place in the user's source.
    """
    if scheme not in EXPORTERS["tflite"].schemes:
        allowed = ", ".join(EXPORTERS["tflite"].schemes)
        raise ValueError(f"scheme {scheme!r} for .tflite files: choose one of {allowed}")
    require("tflite", "ai_edge_litert.schema_py_generated", "flatbuffers")
    from export.tflite.flatbuffer import serialize
    from export.tflite.passes import run_passes
    from export.tflite.translate import translate

    program, form = stream(program, plane_costs=False)
    graph = translate(program, spec=spec)
    run_passes(graph, scheme=scheme)
    description = {
        **spec.description,
        "inputs": [info.to_dict() for info in spec.inputs],
        "outputs": [info.to_dict() for info in spec.outputs],
        "classes": spec.classes,
    }
    metadata = {METADATA: json.dumps(description, ensure_ascii=False).encode()}
    path.write_bytes(serialize(graph, metadata=metadata))
    notes = _float_notes(graph) if scheme == "w8a8" else ()
    coverage, unknown = attempt(lambda: litert_coverage(path, places=graph.places))
    return WrittenFile(
        path=path,
        inputs=spec.inputs,
        outputs=spec.outputs,
        notes=(*form, *notes, *unknown),
        coverage=coverage,
    )


def _float_notes(graph: Graph) -> tuple[str, ...]:
    """What computes in float, if anything does."""
    left = Counter(op.kind for op in graph.ops if op.output.dtype == "float32" and op.kind != "DEQUANTIZE")
    if not left:
        return ()
    return ("in float: " + ", ".join(f"{kind} x{count}" for kind, count in sorted(left.items())),)
