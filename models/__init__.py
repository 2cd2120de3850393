"""Networks: torch only, no other package of this project.

A new network is one line in `TEACHERS` or `STUDENTS`; the contract tests run over both tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from models.mobilenet3d import MobileNet3dOptions, mobilenet3d, mobilenet3d_small, mobilenet3d_tiny
from models.spec import ClipSpec
from models.teacher import TeacherOptions, multimodal, multimodal_tiny


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network that recipes may name: `build(spec, options)` with an instance of `options`."""

    build: Callable[[ClipSpec, Any], nn.Module]
    options: type
    inputs: tuple[str, ...]
    """Inputs that it can take; a recipe may give it fewer, but never none of them."""


TEACHERS: dict[str, Network] = {
    "multimodal": Network(build=multimodal, options=TeacherOptions, inputs=("clip", "audio", "text")),
    "multimodal_tiny": Network(
        build=multimodal_tiny, options=TeacherOptions, inputs=("clip", "audio", "text")
    ),
}

STUDENTS: dict[str, Network] = {
    "mobilenet3d": Network(build=mobilenet3d, options=MobileNet3dOptions, inputs=("clip", "audio")),
    "mobilenet3d_small": Network(
        build=mobilenet3d_small, options=MobileNet3dOptions, inputs=("clip", "audio")
    ),
    "mobilenet3d_tiny": Network(build=mobilenet3d_tiny, options=MobileNet3dOptions, inputs=("clip", "audio")),
}
