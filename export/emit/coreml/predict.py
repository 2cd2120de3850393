"""Runs a package: through Core ML on an Apple system, through our interpreter of the saved program elsewhere."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from export.emit.coreml.interpret import RUNNER, Run, open_program
from export.emit.coreml.saved import import_quietly


def open_package(path: Path) -> tuple[str, Run]:
    """What runs the package at `path`, in words, and the function that does.

    Raises what Core ML raises for a package that it cannot load, and elsewhere what `open_program` raises.
    """
    if sys.platform == "darwin":
        import_quietly()
        import coremltools

        model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit.ALL)
        return f"Core ML of macOS {platform.mac_ver()[0]}", lambda inputs: model.predict(dict(inputs))
    return RUNNER, open_program(path)
