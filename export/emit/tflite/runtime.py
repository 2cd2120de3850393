"""Opens `.tflite` files in LiteRT on one thread."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from export.emit.tflite.flatbuffer import SIGNATURE
from export.opened_file import OpenedFile


def open_file(path: Path, *, entry: str | None, outputs: Sequence[str]) -> OpenedFile:
    """Opens the signature `entry` of the file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    signature = interpreter.get_signature_runner(entry or SIGNATURE)

    def run(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        given = signature(**feeds)
        return [given[name] for name in outputs]

    return OpenedFile(runner=f"LiteRT {version('ai-edge-litert')}", run=run)
