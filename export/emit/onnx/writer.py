"""Writes `.onnx` files for ONNX Runtime: float, or int8 in the form of its integer kernels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from export import require
from export.capture.stepping import Stepper, step_path
from export.emit.onnx.groups import groups_as_rows
from export.emit.onnx.passes import WEIGHT_PASSES, shrink_weights, tune_int8
from export.emit.onnx.passes.curves import curves_in_float
from export.emit.onnx.passes.saturation import layers_that_can_saturate, needs
from export.lower.prelu import restore_prelu
from export.manifest import FileSpec, WrittenFile
from export.private.torch import needless_decompositions_skipped
from export.verify.coverage.on_onnxruntime import onnxruntime_coverage
from export.verify.coverage.onnx_file import places_in
from export.verify.coverage.report import attempt

if TYPE_CHECKING:
    import onnx_ir as ir

OPSET = 20
"""Operator set of the files: the newest that torch writes without conversion and ONNX Runtime 1.23 runs."""


_LAYERS = ("Conv", "Gemm", "MatMul")


def load_backend() -> None:
    """Imports the libraries that write and run the files. Raises ImportError, with the `pip` command."""
    require("onnx", "onnx", "onnxscript", "onnxruntime")


def write(
    program: ExportedProgram, path: Path, *, spec: FileSpec, scheme: str, step: Stepper | None = None
) -> WrittenFile:
    """Writes the program to `path` as ONNX with its description in `metadata_props`; `step` to a file next to it.

    Raises ImportError without onnx and onnxscript, ValueError if the graph cannot be written exactly.
    """
    require("onnx", "onnx", "onnxscript")
    written = _write(program, path, spec=spec, scheme=scheme)
    if step is None:
        return written
    return replace(written, step=_write(step.program, step_path(path), spec=step.spec, scheme=scheme))


def _write(program: ExportedProgram, path: Path, *, spec: FileSpec, scheme: str) -> WrittenFile:
    import onnx
    import onnx_ir as ir
    import torch.onnx
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, NameFixPass

    restore_prelu(program)
    if scheme == "w4":
        program = groups_as_rows(program)
    with needless_decompositions_skipped():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[info.name for info in spec.inputs],
            output_names=[info.name for info in spec.outputs],
            verbose=False,
        )
    assert exported is not None
    model: ir.Model = exported.model
    # The requested names are kept; torch's other uses of such a name get a new one.
    NameFixPass()(model)
    places = places_in(model)
    if scheme == "w8a8":
        tune_int8(model)
    elif scheme in WEIGHT_PASSES:
        shrink_weights(model, scheme=scheme)
    places = places_in(model, known=places)
    # The exporter writes the stack trace of every node into the file: large, with paths of this machine.
    ClearMetadataAndDocStringPass()(model)
    model.producer_name = "pocketreel"
    model.metadata_props.update({key: json.dumps(value) for key, value in spec.description.items()})
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, path)
    coverage, unknown = attempt(lambda: onnxruntime_coverage(path, scheme=scheme, places=places))
    written = WrittenFile(
        path=path,
        inputs=spec.inputs,
        outputs=spec.outputs,
        notes=(*_notes(model, scheme), *unknown),
        coverage=coverage,
    )
    return with_needs(written, model) if scheme == "w8a8" else written


def with_needs(written: WrittenFile, model: ir.Model) -> WrittenFile:
    """The report on an int8 file, with what it needs to be exact."""
    layers = sum(node.op_type in _LAYERS for node in model.graph)
    saturating = layers_that_can_saturate(model)
    needed = needs(saturating, layers=layers)
    note = (
        "exact on every processor: no sum of integer products can saturate"
        if needed is None
        else f"needs {needed}"
    )
    return replace(written, saturating_layers=saturating, needs=needed, notes=(*written.notes, note))


def _notes(model: ir.Model, scheme: str) -> tuple[str, ...]:
    if scheme != "w8a8":
        return ()
    layers = [node for node in model.graph if node.op_type in _LAYERS]
    in_float = [node for node in layers if not all(_is_dequantized(value) for value in node.inputs[:2])]
    notes = [
        f"uint8 activations, int8 weights; {len(layers) - len(in_float)} of {len(layers)} layers in integers"
    ]
    if in_float:
        notes.append("in float: " + ", ".join(f"{node.op_type} {node.name}" for node in in_float))
    curves = curves_in_float(model)
    if curves:
        notes.append(
            "activations in float, whose integer form would differ by more than one step: "
            + ", ".join(curves)
        )
    return tuple(notes)


def _is_dequantized(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    return producer is not None and producer.op_type == "DequantizeLinear"
