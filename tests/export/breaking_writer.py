"""A writer of `.onnx` files that the runtime refuses if the network contains an error function."""

from pathlib import Path

import torch
from torch.export import ExportedProgram

from export.capture.stepping import Stepper
from export.emit.onnx.writer import load_backend
from export.emit.onnx.writer import write as write_right
from export.manifest import FileSpec, WrittenFile

__all__ = ["load_backend", "write"]


def write(
    program: ExportedProgram, path: Path, *, spec: FileSpec, scheme: str, step: Stepper | None = None
) -> WrittenFile:
    """Writes a valid file, truncated if the program has an `erf`."""
    written = write_right(program, path, spec=spec, scheme=scheme, step=step)
    if any(node.target is torch.ops.aten.erf.default for node in program.graph.nodes):
        path.write_bytes(path.read_bytes()[:100])
    return written
