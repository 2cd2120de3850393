"""Opens `.pte` files in ExecuTorch."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from export.opened_file import OpenedFile


def open_file(path: Path, *, entry: str | None, outputs: Sequence[str]) -> OpenedFile:
    """Opens the method `entry` of the file, whose inputs and outputs have places instead of names."""
    import torch
    from executorch.runtime import Runtime

    # The program is read in place: it must live as long as its method does, so the closure holds both.
    program = Runtime.get().load_program(path)
    method = program.load_method(entry or "forward")

    def run(feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        assert program is not None
        return [output.numpy() for output in method.execute([torch.from_numpy(x) for x in feeds.values()])]

    return OpenedFile(runner=f"ExecuTorch {version('executorch')}", run=run)
