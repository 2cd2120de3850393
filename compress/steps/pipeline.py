"""What the steps of one run share, and what they hand on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel
from rich.console import Console
from torch import Tensor, nn

from benchmarks.clips.cache import ClipSet
from benchmarks.top1 import Accuracy
from compress.artifact import Artifact
from compress.data import DECODED, Data
from compress.factory import source_of
from compress.folders.contents import INDEX, contents_of
from compress.folders.keys import Key
from compress.recipe.sections import FactoryTeacher, Recipe, paths_in
from compress.record import StageRecord
from compress.stage import Context
from compress.store import content_key
from compress.tasks import Truth
from compress.teacher import Teacher
from compress.training import drawn
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

    def notify(self, sentence: str) -> None:
        """Prints one sentence for whoever watches."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    @property
    def student_spec(self) -> ClipSpec:
        """The inputs that the student is given, and the label columns that it learns."""
        return self.data.spec.only(self.recipe.student.inputs, labels=self.recipe.student.labels)

    def truth(self, clips: ClipSet, spec: ClipSpec) -> Truth:
        """The right answers for the clips of a split to the tasks of a network."""
        return Truth.of(clips.for_spec(spec), spec, tag_separator=self.data.tag_separator)

    def build_student(self) -> nn.Module:
        """The student before any stage: the same weights for the same seed."""
        row, options = STUDENTS[self.recipe.student.network], self.recipe.student.options
        return drawn(lambda: row.build(self.student_spec, options).eval(), seed=self.recipe.seed)

    def context(self, folder: Path, teacher: Teacher | None) -> Context:
        """What a stage that works in `folder` may use."""
        return Context(
            device=self.device,
            seed=self.recipe.seed,
            data=self.data,
            teacher=teacher,
            distillation=self.recipe.distillation,
            build_student=self.build_student,
            folder=folder,
            cache=self.cache,
            console=self.console,
        )

    def key(self, *, code: Iterable[str], **parts: Any) -> Key:
        """Hash of `parts` together with the data, the seed, the kind of device, and the modules that make it."""
        return content_key(code=code, **self._given, device=self.device.type, **parts)

    @property
    def origin(self) -> Key:
        """Hash of what a user gives: the recipe without its paths, the content of the data, the seed.

        The same on every machine and in every folder; it stands in the files.
        """
        recipe = self.recipe
        return Key.of(
            {
                **self._given,
                "teacher": None if recipe.teacher is None else self.settings_of(recipe.teacher),
                "student": self.settings_of(recipe.student),
                "distillation": self.settings_of(recipe.distillation),
                "stages": [{entry.verb: self.settings_of(entry.config)} for entry in recipe.stages],
            }
        )

    def settings_of(self, section: BaseModel) -> dict[str, Any]:
        """A section of the recipe as plain data; files are told by their content, not by their paths."""
        plain = section.model_dump(mode="json")
        index = self.cache / DECODED / INDEX
        for place, path in paths_in(section):
            holder: Any = plain
            for name in place[:-1]:
                holder = holder[name]
            holder[place[-1]] = {"sha256": contents_of([path], index=index)[path]}
        if isinstance(section, FactoryTeacher):
            plain["source"] = source_of(section.factory)
        return plain

    @cached_property
    def _given(self) -> dict[str, Any]:
        splits = {"train": self.data.train, "validation": self.data.validation, "test": self.data.test}
        return {
            "data": {name: clips.digest for name, clips in splits.items()},
            "tags": {name: [row.more for row in clips.rows] for name, clips in splits.items()},
            "spec": self.data.spec.to_dict(),
            "seed": self.recipe.seed,
        }


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

    @property
    def accuracy(self) -> list[Accuracy]:
        """How often the network is right on the test split, for each label column that it answers."""
        return self._found(self.record["after"]["correct"])

    @property
    def labels_only(self) -> list[Accuracy] | None:
        """The same of the same student trained on the labels alone; None where the stage trained none."""
        correct = self.record["after"].get("labels_only_correct")
        return None if correct is None else self._found(correct)

    def _found(self, correct: dict[str, int]) -> list[Accuracy]:
        clips = len(self.test_logits[0])
        return [Accuracy(correct=correct[label.name], total=clips) for label in self.artifact.spec.labels]


def shares(top1: float | dict[str, float]) -> str:
    """Top-1 in per cent, with the label column where there are several."""
    columns = top1 if isinstance(top1, dict) else {"": top1}
    return ", ".join(f"{column} {100 * share:.1f} %".strip() for column, share in columns.items())
