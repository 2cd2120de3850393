"""What a stage is: a function from artifact to artifact, its settings, and where it may stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from compress.artifact import Artifact, Context, Form
from compress.training import Job


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """The new artifact and what the report tells of how it came about."""

    artifact: Artifact
    curve: tuple[dict[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    """Further figures of the stage, by name."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One row of the table of stages."""

    config: type[BaseModel]
    run: Callable[[Artifact, Any, Context], StageResult]
    takes: Form
    gives: Form
    needs_teacher: bool = False
    needs_training: bool = False
    """Whether its input has to be trained already; `distill` is what trains it."""


def training_job(name: str, context: Context) -> Job:
    """The training job of that name within a stage: its checkpoints lie in the stage's own folder."""
    folder = context.folder / name.replace(": ", "_").replace(" ", "_")
    return Job(name=name, device=context.device, seed=context.seed, folder=folder, console=context.console)
