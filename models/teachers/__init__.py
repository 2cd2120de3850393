"""Modular teachers: encoders, fusion and heads, each with a table in its own file.

`modular` combines them; `models.checkpoints` loads public weights of the video encoders.
"""

from models.teachers.modular import (
    ModularOptions,
    ModularTeacher,
    MultimodalOptions,
    modular,
    multimodal,
    multimodal_tiny,
)

__all__ = [
    "ModularOptions",
    "ModularTeacher",
    "MultimodalOptions",
    "modular",
    "multimodal",
    "multimodal_tiny",
]
