"""What a stage is: a function from artifact to artifact, its settings, what it may use, and where it may stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel
from rich.console import Console
from torch import nn

from compress.artifact import Artifact, Form
from compress.training import Job

if TYPE_CHECKING:
    from compress.data import Data
    from compress.distillation.config import DistillationConfig
    from compress.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class Context:
    """What stages use beside the artifact. Nothing in here changes during a run."""

    device: torch.device
    seed: int
    data: Data
    teacher: Teacher | None
    distillation: DistillationConfig
    """How whoever trains learns from the teacher."""
    build_student: Callable[[], nn.Module]
    """A freshly initialised student, the same one on every call."""
    folder: Path
    """Where a stage keeps unfinished work; it survives a kill and is gone once the stage is finished."""
    cache: Path
    """Where work shared by several stages is kept, under content hashes."""
    console: Console = field(default_factory=Console)


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """The new artifact and what the report tells of how it came about."""

    artifact: Artifact
    curve: tuple[dict[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    """Further figures of the stage, by name."""


def _nothing(_: Any) -> tuple[Callable[..., Any], ...]:
    return ()


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
    methods: Callable[[Any], Iterable[Callable[..., Any]]] = _nothing
    """What its settings choose from tables of methods: the stage depends on these rows, not on their neighbours."""


def training_job(name: str, context: Context) -> Job:
    """The training job of that name within a stage: its checkpoints lie in the stage's own folder."""
    folder = context.folder / name.replace(": ", "_").replace(" ", "_")
    return Job(name=name, device=context.device, seed=context.seed, folder=folder, console=context.console)
