"""Ranges of the settings of a recipe: every number, text and list has one, so that absurd values are refused at
once.

A range covers any sensible use, and no value in it overflows a float32 or a file system.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

LARGEST_SEED = 2**63 - 1
MAX_PATH = 4_096
"""Largest length of a path on Linux."""
MAX_TEACHERS = 8

Word = Annotated[str, Field(min_length=1, max_length=200)]
"""Name of a column."""
Cell = Annotated[str, Field(max_length=1_000)]
"""A value in a column."""
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


def _short_enough(path: Path) -> Path:
    if len(str(path)) > MAX_PATH:
        raise ValueError(f"a path has at most {MAX_PATH} characters, this one {len(str(path))}")
    return path


FilePath = Annotated[
    Path,
    AfterValidator(_short_enough),
    WithJsonSchema({"type": "string", "format": "path", "maxLength": MAX_PATH}),
]
