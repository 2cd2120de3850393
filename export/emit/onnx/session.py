"""Opens ONNX files in ONNX Runtime with exact integer arithmetic on every processor."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.command.processor import lacks_vnni
from export.emit.onnx.passes.saturation import EXACT
from export.opened_file import OpenedFile


def open_file(path: Path, *, entry: str | None, outputs: Sequence[str]) -> OpenedFile:
    """Opens the file, which has one program."""
    import onnxruntime

    session = open_session(path)

    def run(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        return session.run(list(outputs), feeds)

    return OpenedFile(runner=f"ONNX Runtime {onnxruntime.__version__}", run=run)


def open_session(content: Any) -> Any:
    """An `InferenceSession` on one CPU thread; `content` is a path or a serialised model.

    On processors without VNNI integer products are exact by the option `EXACT`. A file in which layers share
    constants cannot be opened with it (`export.emit.onnx.passes.exactness`); it is opened without it, with a
    RuntimeWarning. Files of this package share none.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    if not lacks_vnni():
        return onnxruntime.InferenceSession(content, options, providers=providers)
    options.add_session_config_entry(*EXACT)
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:
        options.add_session_config_entry(EXACT[0], "0")
        session = onnxruntime.InferenceSession(content, options, providers=providers)
        warnings.warn(
            f"this processor has no VNNI, and the file cannot be opened with {' = '.join(EXACT)} ({error}): sums "
            "of its integer products can saturate, so its outputs can be wrong",
            RuntimeWarning,
            stacklevel=2,
        )
        return session
