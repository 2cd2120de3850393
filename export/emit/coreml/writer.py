"""Writes `.mlpackage` folders for Core ML: ML programs for iOS 17 / macOS 14, with 4-bit weights for 18 / 15."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch.export import ExportedProgram

from export import EXPORTERS
from export.capture.stepping import Stepper, step_path
from export.emit.coreml import sparse
from export.emit.coreml.compression import compress_weights
from export.emit.coreml.coverage import cover
from export.emit.coreml.decompose import decompose
from export.emit.coreml.groups import convert_groups
from export.emit.coreml.outputs import fit_outputs, with_an_axis
from export.emit.coreml.repeatable import make_repeatable
from export.emit.coreml.saved import import_quietly
from export.lower.prelu import restore_prelu
from export.manifest import FileSpec, TensorInfo, WrittenFile
from export.private.coremltools import reset_names
from export.quantize.palette import LEAST
from export.verify.coverage.places import places_of
from export.verify.coverage.report import attempt

if TYPE_CHECKING:
    from coremltools import PassPipeline
    from coremltools.models import MLModel


def load_backend() -> None:
    """Imports the libraries that write and run the files. Raises ImportError, with the `pip` command."""
    import_quietly()


def write(
    program: ExportedProgram, path: Path, *, spec: FileSpec, scheme: str, step: Stepper | None = None
) -> WrittenFile:
    """Writes the program to the folder `path`, and `step` to one next to it.

    `fp32` computes in float32 (CPU and GPU), every other scheme in float16, which the Neural Engine requires. `w8`,
    `w4` and `p4` take a graph with compressed weights (`export.quantize.weight_only`), `w8a8` the int8 reference.
    Weights of `fp32` and `fp16` with many zeros are stored sparsely (`export.emit.coreml.sparse`).
    Inputs and outputs are float32 (tokens int32) in all of them. Core ML predicts on macOS only: elsewhere the
    package is written, and `export.emit.coreml` interprets it.

    Raises ValueError for another scheme, ImportError without coremltools, NotImplementedError, with the place in
    the user's source, for an operator that Core ML does not support.
    """
    if scheme not in EXPORTERS["coreml"].schemes:
        allowed = ", ".join(EXPORTERS["coreml"].schemes)
        raise ValueError(f"scheme {scheme!r} for .mlpackage files: choose one of {allowed}")
    import_quietly()
    written = _write(program, path, spec=spec, scheme=scheme)
    if step is None:
        return written
    return replace(written, step=_write(step.program, step_path(path), spec=step.spec, scheme=scheme))


def _write(program: ExportedProgram, path: Path, *, spec: FileSpec, scheme: str) -> WrittenFile:
    import coremltools

    restore_prelu(program)
    program = decompose(program)
    fit_outputs(program)
    outputs, reshaped = with_an_axis(spec.outputs)
    needs_ios18 = scheme == "w4"
    if needs_ios18:
        convert_groups()
    passes = coremltools.PassPipeline()
    # It rewrites x * a + b to batch_norm, with a variance of 1 and an epsilon of 1e-5, which changes a by 5e-6.
    passes.remove_passes({"common::fuse_elementwise_to_batchnorm"})
    if scheme == "p4":
        _write_palettes(passes)
    is_sparse = scheme in sparse.SCHEMES and sparse.has_sparse_weights(program)
    if is_sparse:
        sparse.store_sparse(passes)
    reset_names()
    model: MLModel = coremltools.convert(
        program,
        pass_pipeline=passes,
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target.iOS18 if needs_ios18 else coremltools.target.iOS17,
        compute_precision=coremltools.precision.FLOAT32
        if scheme == "fp32"
        else coremltools.precision.FLOAT16,
        inputs=[
            coremltools.TensorType(name=info.name, shape=info.shape, dtype=np.dtype(info.dtype))
            for info in spec.inputs
        ],
        outputs=[coremltools.TensorType(name=info.name, dtype=np.dtype(info.dtype)) for info in outputs],
        skip_model_load=True,
    )
    for info in spec.inputs:
        model.input_description[info.name] = _sentence(info)
    for info in outputs:
        model.output_description[info.name] = _sentence(info)
    for info, classes in zip(spec.outputs, spec.classes, strict=False):
        if classes:
            model.output_description[info.name] += f"; classes in order: {', '.join(classes)}"
    model.user_defined_metadata.update({key: json.dumps(value) for key, value in spec.description.items()})
    model.save(str(path))
    make_repeatable(path)
    of_weights = sparse.notes(model) if is_sparse else ()
    coverage, unknown = attempt(lambda: cover(path, places=places_of(program.graph)))
    systems = "iOS 18 / macOS 15" if needs_ios18 else "iOS 17 / macOS 14"
    precision = "float32" if scheme == "fp32" else "float16"
    return WrittenFile(
        path=path,
        inputs=spec.inputs,
        outputs=outputs,
        notes=(
            f"ML program for {systems} and later, computes in {precision}",
            *reshaped,
            *of_weights,
            *unknown,
        ),
        coverage=coverage,
    )


def _write_palettes(passes: PassPipeline) -> None:
    """Weights of at most 16 values become tables of values and indices; numbers stay the same."""
    import coremltools.optimize.coreml as optimize

    compress_weights(
        passes, "palettize_weights", optimize.OpPalettizerConfig(mode="unique", weight_threshold=LEAST)
    )


def _sentence(info: TensorInfo) -> str:
    parts = [f"{info.dtype} {info.layout} {'x'.join(map(str, info.shape))}"]
    if info.value_range:
        parts.append(f"values {info.value_range[0]}..{info.value_range[1]}")
    if info.normalised_by:
        parts.append(f"normalised by {info.normalised_by}")
    return ", ".join(parts)
