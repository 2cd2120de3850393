"""The interface of stages: a function from artifact to artifact, its settings, context and order."""

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
    """Inputs of stages other than the artifact, constant during a run."""

    device: torch.device
    seed: int
    data: Data
    teacher: Teacher | None
    """The teacher, or the first of several."""
    distillation: DistillationConfig
    """Settings of distillation for training stages."""
    build_student: Callable[[], nn.Module]
    """Builds an initialised student, with equal weights in every call."""
    folder: Path
    """Folder for unfinished work of a stage; it survives a kill and is removed when the stage is finished."""
    cache: Path
    """Folder for results shared by several stages, by content hash."""
    console: Console = field(default_factory=Console)
    further_teachers: tuple[Teacher, ...] = ()
    """Those after the first, of several."""

    @property
    def teachers(self) -> tuple[Teacher, ...]:
        """All teachers."""
        return () if self.teacher is None else (self.teacher, *self.further_teachers)


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """The new artifact and data for the report."""

    artifact: Artifact
    curve: tuple[dict[str, float], ...] = ()
    notes: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    """Further figures of the stage, by name."""


def _nothing(_: Any) -> tuple[Callable[..., Any], ...]:
    return ()


def _anywhere(_: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One row of the table of stages."""

    config: type[BaseModel]
    run: Callable[[Artifact, Any, Context], StageResult]
    takes: Form
    gives: Form
    needs_teacher: bool = False
    needs_training: bool = False
    """Whether its input must already be trained, by `distill`."""
    methods: Callable[[Any], Iterable[Callable[..., Any]]] = _nothing
    """The rows of method tables that its settings select; the stage depends only on these rows."""
    machine: Callable[[Any], dict[str, Any]] = _anywhere
    """What the result depends on besides settings and code, such as the processor of a measurement."""


def training_job(name: str, context: Context) -> Job:
    """The training job `name` within a stage, with checkpoints in the folder of the stage."""
    folder = context.folder / name.replace(": ", "_").replace(" ", "_")
    return Job(name=name, device=context.device, seed=context.seed, folder=folder, console=context.console)
