"""Writes `.mlpackage` folders for Core ML: ML programs for iOS 17 / macOS 14 and later."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch.export import ExportedProgram

from export import require
from export.manifest import FileSpec, TensorInfo, WrittenFile

if TYPE_CHECKING:
    from coremltools.models import MLModel

_NOISE = ("has not been tested with coremltools", "is not supported", "Failed to load _ML", "Fail to import")
"""Parts of messages about the surroundings (versions, missing Apple frameworks), not about the network."""


def write(program: ExportedProgram, path: Path, *, spec: FileSpec, scheme: str) -> WrittenFile:
    """Writes the program to the folder `path`.

    `fp32` computes in float32 (CPU and GPU); `fp16` and `w8a8` in float16, which the Neural Engine needs.
    Inputs and outputs are float32 (tokens int32) in all three. Core ML predicts on macOS only: elsewhere the
    package is written and can be read back, but not run. Raises ImportError without coremltools.
    """
    _import_quietly()
    import coremltools

    model: MLModel = coremltools.convert(
        program.run_decompositions({}),
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target.iOS17,
        compute_precision=coremltools.precision.FLOAT32
        if scheme == "fp32"
        else coremltools.precision.FLOAT16,
        inputs=[
            coremltools.TensorType(name=info.name, shape=info.shape, dtype=np.dtype(info.dtype))
            for info in spec.inputs
        ],
        outputs=[coremltools.TensorType(name=info.name, dtype=np.float32) for info in spec.outputs],
        skip_model_load=True,
    )
    for info in spec.inputs:
        model.input_description[info.name] = _sentence(info)
    for info, classes in zip(spec.outputs, spec.classes, strict=True):
        model.output_description[info.name] = f"{_sentence(info)}; classes in order: {', '.join(classes)}"
    model.user_defined_metadata.update({key: json.dumps(value) for key, value in spec.description.items()})
    model.save(str(path))
    precision = "float32" if scheme == "fp32" else "float16"
    return WrittenFile(
        path=path,
        inputs=spec.inputs,
        outputs=spec.outputs,
        notes=(f"ML program for iOS 17 / macOS 14 and later, computes in {precision}",),
    )


def _import_quietly() -> None:
    """Imports coremltools without TensorFlow, which it would load for its other converter: seconds and memory."""
    logging.getLogger("coremltools").addFilter(_is_about_the_network)
    hide = "tensorflow" not in sys.modules
    if hide:
        sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        require("coreml", "coremltools")
    finally:
        if hide:
            del sys.modules["tensorflow"]


def _sentence(info: TensorInfo) -> str:
    parts = [f"{info.dtype} {info.layout} {'x'.join(map(str, info.shape))}"]
    if info.value_range:
        parts.append(f"values {info.value_range[0]}..{info.value_range[1]}")
    if info.normalised_by:
        parts.append(f"normalised by {info.normalised_by}")
    return ", ".join(parts)


def _is_about_the_network(record: logging.LogRecord) -> bool:
    return not any(part in record.getMessage() for part in _NOISE)
