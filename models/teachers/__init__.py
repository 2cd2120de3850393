"""Teachers made of parts: encoders, a fusion, heads; each part a literal table, each table in its own file.

`modular` joins them; `checkpoints` reads public weights of their video encoders.
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
