"""Runs a package: in Core ML on an Apple system, in the reference interpreter elsewhere."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.emit.coreml.interpret import RUNNER, Run, open_program
from export.emit.coreml.saved import import_quietly
from export.opened_file import OpenedFile


def open_file(path: Path, *, entry: str | None, outputs: Sequence[str]) -> OpenedFile:
    """Opens the package, which has one program; raises the errors of `open_package`."""
    runner, predict = open_package(path)

    def run(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        given = predict(feeds)
        return [given[name] for name in outputs]

    return OpenedFile(runner=runner, run=run)


def open_package(path: Path) -> tuple[str, Run]:
    """The name of the runtime for the package at `path`, and a function that runs it.

    Raises the errors of Core ML for a package that it cannot load, and elsewhere those of `open_program`.
    """
    if sys.platform == "darwin":
        import_quietly()
        import coremltools

        model = coremltools.models.MLModel(str(path), compute_units=coremltools.ComputeUnit.ALL)
        return f"Core ML of macOS {platform.mac_ver()[0]}", lambda inputs: model.predict(dict(inputs))
    return RUNNER, open_program(path)
