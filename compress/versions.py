"""Versions of the packages that results depend on."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

TRAINING = ("torch", "torchao", "torch-pruning")
"""What networks are made with."""

FILES = (
    *("onnx", "onnxscript", "onnxruntime"),
    *("ai-edge-litert", "tensorflow", "tensorflow-cpu"),
    "executorch",
    "coremltools",
)
"""What writes files and runs them."""


def installed(names: Iterable[str] = (*TRAINING, *FILES)) -> dict[str, str]:
    """Version by name of those of the distributions that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
