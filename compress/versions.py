"""Versions of the packages that results depend on."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

TRAINING = ("torch", "torchao", "torch-pruning")
"""Packages for training."""

FILES = (
    *("onnx", "onnxscript", "onnxruntime"),
    *("ai-edge-litert", "tensorflow", "tensorflow-cpu"),
    "executorch",
    "coremltools",
)
"""Packages for exporting and running files."""


def installed(names: Iterable[str] = (*TRAINING, *FILES)) -> dict[str, str]:
    """Versions of the installed distributions, by name."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
