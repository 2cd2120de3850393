"""Public pretrained weights of a student, or of a teacher's video encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from export.weights_file import read_weights
from models.checkpoints import Loaded, load_public, normalisation_of
from models.spec import ClipSpec
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
    module = teacher.encoders["clip"]
    drawn = _load(getattr(module, "network", module), encoder, path).drawn
    return f"{encoder} started from {path.name}" + (f", without {len(drawn)} tensors" if drawn else "")


def start_pretrained(student: nn.Module, network: str, path: Path) -> tuple[str, ...]:
    """Loads public weights into all layers of a student but its classifiers; returns notes on the loaded weights.

    Raises `ValueError` for a network without public weights, and for a file that does not contain them.
    """
    loaded = _load(student, network, path)
    notes = [
        f"{network} started from {path.name} ({loaded.layout.source}); the classifier of the file "
        f"({', '.join(loaded.left_out) or 'none'}) is not used: those of the student are drawn"
    ]
    if (published := loaded.layout.normalisation) is not None:
        mean, std = (
            ", ".join(f"{value:.3g}" for value in values) for values in (published.mean, published.std)
        )
        notes.append(
            f"it normalises by the mean {mean} and the deviation {std} of these weights, not of `clip`"
        )
    if loaded.supplied:
        notes.append(
            f"{path.name} has no values for {len(loaded.supplied)} tensors, such as {loaded.supplied[0]}; they "
            "start with values that do not change what the published network computes"
        )
    if loaded.drawn:
        notes.append(
            f"{path.name} has no values for {len(loaded.drawn)} tensors, such as {loaded.drawn[0]}; they are drawn"
        )
    return tuple(notes)


def with_normalisation(spec: ClipSpec, network: str) -> ClipSpec:
    """`spec` with the normalisation of pixels that the public weights of `network` were trained with."""
    published = normalisation_of(network)
    if published is None or spec.video is None:
        return spec
    return replace(spec, video=replace(spec.video, mean=published.mean, std=published.std))


def _load(network: nn.Module, name: str, path: Path) -> Loaded:
    weights = read_weights(path)
    for key in _WRAPPERS:
        inner = weights.get(key, weights)
        weights = inner if isinstance(inner, dict) else weights
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in weights.items()):
        raise ValueError(f"{path} holds more than a state dict; keep the tensors alone")
    try:
        return load_public(network, weights, name=name)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
