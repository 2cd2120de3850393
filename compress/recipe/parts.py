"""The valid parts of a recipe, for checks across sections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from compress.gates import GateConfig
from compress.recipe.sections import StageEntry
from compress.recipe.source import Place

Found = Iterator[tuple[Place, str, dict[str, str | None]]]
"""Faults of a check: place, problem, and what was given and is allowed."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The valid parts of a recipe; a section with faults is absent, a list entry with faults is None."""

    sections: dict[str, Any]
    verbs: list[str | None]
    """The verb of every stage, also with invalid settings."""
    stages: list[StageEntry | None]
    gates: list[GateConfig | None]
