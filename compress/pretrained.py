"""Public pretrained weights of a teacher's video encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from export.weights_file import read_weights
from models.teachers.checkpoints import load_public
from models.teachers.modular import ModularTeacher

_WRAPPERS = ("state_dict", "model_state", "model")
"""Keys of the state dict in published files."""


def load_pretrained(teacher: nn.Module, options: Any, path: Path) -> str:
    """Loads public weights into the teacher's video encoder; returns a note on the loaded weights.

    Raises `ValueError` for a teacher without a video encoder or without public weights, and for a file that does
    not contain them.
    """
    encoder = getattr(getattr(options, "video", None), "name", None)
    if encoder is None or not isinstance(teacher, ModularTeacher) or "clip" not in teacher.encoders:
        raise ValueError(f"{path}: pretrained weights are for the video encoder of the teacher `modular`")
    weights = read_weights(path)
    for key in _WRAPPERS:
        inner = weights.get(key, weights)
        weights = inner if isinstance(inner, dict) else weights
    module = teacher.encoders["clip"]
    try:
        absent = load_public(getattr(module, "network", module), weights, encoder=encoder)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return f"{encoder} started from {path.name}" + (f", without {len(absent)} tensors" if absent else "")
