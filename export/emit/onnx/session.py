"""Opens ONNX files in ONNX Runtime with exact integer arithmetic on every processor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.opened_file import OpenedFile

EXACT = ("session.x64quantprecision", "1")
"""The option that makes integer products exact on x86 processors without VNNI, and changes nothing on others."""


def open_file(path: Path, *, entry: str | None, outputs: Sequence[str]) -> OpenedFile:
    """Opens the file, which has one program."""
    import onnxruntime

    session = open_session(path)

    def run(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return session.run(list(outputs), feeds)

    return OpenedFile(runner=f"ONNX Runtime {onnxruntime.__version__}", run=run)


def open_session(content: Any) -> Any:
    """An `InferenceSession` on one CPU thread; `content` is a path or a serialised model.

    On processors without VNNI a file in which layers share constants cannot be opened with the option
    (`export.emit.onnx.passes.exactness`) and is opened without it. Files of this package share none.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry(*EXACT)
    providers = ["CPUExecutionProvider"]
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception:
        options.add_session_config_entry(EXACT[0], "0")
        return onnxruntime.InferenceSession(content, options, providers=providers)
