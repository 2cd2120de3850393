"""What the steps of one run share, and what they hand on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks.clips.cache import ClipSet
from compress.artifact import Artifact, Context, StageRecord
from compress.data import Data
from compress.folders.keys import Key
from compress.recipe.sections import Recipe
from compress.store import content_key
from compress.tasks import Truth
from compress.teacher import Teacher
from models import STUDENTS
from models.spec import ClipSpec


class StepFailed(RuntimeError):
    """A step of the run that could not be finished; the message begins with its name."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every step of one run shares."""

    recipe: Recipe
    data: Data
    folder: Path
    """Where this run writes."""
    cache: Path
    device: torch.device
    console: Console
    finished: tuple[Path, ...] = ()
    """Folders of finished runs whose results are taken where they are those of this run, too."""

    def tell(self, sentence: str) -> None:
        """Prints one sentence for whoever watches."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    @property
    def student_spec(self) -> ClipSpec:
        """The inputs that the student is given, and the label columns that it learns."""
        return self.data.spec.only(self.recipe.student.inputs, labels=self.recipe.student.labels)

    def truth(self, clips: ClipSet, spec: ClipSpec) -> Truth:
        """The right answers for the clips of a split to the tasks of a network."""
        return Truth.of(clips.seen_by(spec), spec, tag_separator=self.data.tag_separator)

    def build_student(self) -> nn.Module:
        """The student before any stage: the same weights for the same seed."""
        row = STUDENTS[self.recipe.student.network]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            return row.build(self.student_spec, self.recipe.student.options).eval()

    def context(self, folder: Path, teacher: Teacher | None) -> Context:
        """What a stage that works in `folder` may use."""
        return Context(
            device=self.device,
            seed=self.recipe.seed,
            data=self.data,
            teacher=teacher,
            build_student=self.build_student,
            folder=folder,
            cache=self.cache,
            console=self.console,
        )

    def key(self, **parts: Any) -> Key:
        """Content hash of `parts` together with the data, the seed and the kind of device."""
        splits = {"train": self.data.train, "validation": self.data.validation, "test": self.data.test}
        return content_key(
            data={name: clips.digest for name, clips in splits.items()},
            tags={name: [row.more for row in clips.rows] for name, clips in splits.items()},
            spec=self.data.spec.to_dict(),
            seed=self.recipe.seed,
            device=self.device.type,
            **parts,
        )


@dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """A finished stage: its artifact, the logits it gives on the test split, and whether it had been there."""

    path: str
    """Place in the recipe, such as `stages.0.distill`."""
    folder: str
    """Where it lies in the folder of the run, such as `stages/01_distill`."""
    key: str
    artifact: Artifact
    test_logits: tuple[Tensor, ...]
    cached: bool

    @property
    def record(self) -> StageRecord:
        """What the stage did."""
        return self.artifact.history[-1]


def shares(top1: float | dict[str, float]) -> str:
    """Top-1 in per cent, with the label column where there are several."""
    columns = top1 if isinstance(top1, dict) else {"": top1}
    return ", ".join(f"{column} {100 * share:.1f} %".strip() for column, share in columns.items())
