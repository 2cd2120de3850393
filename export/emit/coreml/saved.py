"""Reads a saved `.mlpackage` as operations."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from export import require
from export.private.coremltools import without_others

if TYPE_CHECKING:
    from coremltools.converters.mil.mil import Function

_NOISE = ("has not been tested with coremltools", "is not supported", "Failed to load _ML", "Fail to import")
"""Parts of messages about the environment (versions, missing Apple frameworks), not about the network."""


def import_quietly() -> None:
    """Imports coremltools without libraries that only other model sources need.

    Raises ImportError, with the `pip` command, if coremltools cannot be imported.
    """
    logging.getLogger("coremltools").addFilter(_is_about_the_network)
    with without_others():
        require("coreml", "coremltools")


def read_program(path: Path) -> Function:
    """The main function of the package at `path`: its inputs, operations and outputs, weights included.

    Raises FileNotFoundError if there is no package, ValueError if it is not an ML program.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such package; give the folder that ends in .mlpackage")
    import_quietly()
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load

    model = coremltools.models.MLModel(str(path), skip_model_load=True)
    spec = model.get_spec()
    kind = spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise ValueError(
            f"{path}: holds a model of type {kind}; only ML programs (mlProgram) can be read back"
        )
    program = load(
        spec, specification_version=spec.specificationVersion, file_weights_dir=str(model.weights_dir)
    )
    return program.functions["main"]


def _is_about_the_network(record: logging.LogRecord) -> bool:
    return not any(part in record.getMessage() for part in _NOISE)
