"""Common data of the steps of a run, and the result of a stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from compress.artifact import Artifact, Form, load_resized
from compress.command.sentence import in_a_sentence
from compress.data import DECODED, Data
from compress.distillation.criterion import Layers, build_losses
from compress.factory import build_network, load_weights, source_of
from compress.features import feature_sizes
from compress.file_network import FileNetwork
from compress.folders.contents import INDEX, contents_of
from compress.folders.keys import Key
from compress.pretrained import start_pretrained, with_normalisation
from compress.quantize import check_float_layers, check_rounded_layers
from compress.recipe.sections import (
    FactoryStudent,
    FactoryTeacher,
    FileTeacher,
    Recipe,
    StudentConfig,
    TeacherStudent,
    paths_in,
)
from compress.recipe.teacher_spec import teacher_spec
from compress.record import StageRecord
from compress.stage import Context
from compress.stages import STAGES
from compress.store import content_key
from compress.tasks import Truth
from compress.teacher import Teacher
from compress.training import drawn
from export.weights_file import read_state_dict, refuse
from models import STUDENTS, TEACHERS
from models.spec import ClipSpec


class StepFailed(RuntimeError):
    """A failed step; the message starts with its name."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Common data of all steps of a run."""

    recipe: Recipe
    data: Data
    folder: Path
    """The folder that this run writes to."""
    cache: Path
    device: torch.device
    console: Console
    finished: tuple[Path, ...] = ()
    """Folders of finished runs whose results are used if they match this run."""

    def notify(self, sentence: str) -> None:
        """Prints a message."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    @property
    def student_spec(self) -> ClipSpec:
        """The inputs and label columns of the student."""
        student = self.recipe.student
        if isinstance(student, TeacherStudent):
            return self.teacher_spec
        spec = self.data.spec.only(student.inputs, labels=student.labels)
        if isinstance(student, StudentConfig) and student.pretrained is not None:
            return with_normalisation(spec, student.network)
        return spec

    @property
    def teacher_spec(self) -> ClipSpec:
        """The inputs and tasks of the only teacher."""
        assert self.recipe.teacher is not None
        return teacher_spec(self.recipe.teacher, self.data.spec)

    def truth(self, clips: ClipSet, spec: ClipSpec) -> Truth:
        """The targets of all tasks of a network for the clips of a split."""
        return Truth.of(clips.for_spec(spec), spec, tag_separator=self.data.tag_separator)

    def build_student(self) -> nn.Module:
        """Builds the student without trained weights; equal seeds give equal weights."""
        student = self.recipe.student
        if isinstance(student, TeacherStudent):
            return self.build_teacher()
        if isinstance(student, FactoryStudent):
            return drawn(lambda: build_network(student.factory, self.student_spec), seed=self.recipe.seed)
        row = STUDENTS[student.network]
        return drawn(lambda: row.build(self.student_spec, student.options).eval(), seed=self.recipe.seed)

    def build_teacher(self, name: str = "teacher") -> nn.Module:
        """Builds a teacher without trained weights; equal seeds give equal weights."""
        config = self.recipe.named_teachers[name]
        spec = teacher_spec(config, self.data.spec)
        if isinstance(config, FileTeacher):
            return FileNetwork(config.file, spec, inputs=config.inputs, outputs=config.outputs).eval()
        if isinstance(config, FactoryTeacher):
            return drawn(lambda: build_network(config.factory, spec), seed=self.recipe.seed)
        row = TEACHERS[config.network]
        return drawn(lambda: row.build(spec, config.options).eval(), seed=self.recipe.seed)

    def first_student(self, teacher: Teacher | None) -> nn.Module:
        """The student before any stage, with the weights that the recipe gives it.

        Raises `ValueError` for weights of another network.
        """
        return self.first_student_and_notes(teacher)[0]

    def first_student_and_notes(self, teacher: Teacher | None) -> tuple[nn.Module, tuple[str, ...]]:
        """`first_student`, and notes on public weights that it starts from."""
        model, student = self.build_student(), self.recipe.student
        notes: tuple[str, ...] = ()
        if isinstance(student, TeacherStudent):
            assert teacher is not None
            model.load_state_dict(teacher.artifact.model.state_dict())
        elif isinstance(student, FactoryStudent):
            if student.weights is not None:
                load_weights(model, student.weights)
        elif student.pretrained is not None:
            notes = start_pretrained(model, student.network, student.pretrained)
        elif student.weights is not None:
            weights = read_state_dict(student.weights)
            try:
                load_resized(model, weights)
            except (ValueError, RuntimeError) as error:
                raise refuse(str(student.weights), in_a_sentence(error)) from error
        return model.eval(), notes

    def check_student(self) -> None:
        """Raises `ValueError` for options and weights that do not match the clips, before hours of training."""
        if isinstance(self.recipe.student, TeacherStudent):
            self.build_student()
        else:
            self.first_student(None)

    def check_layers(self) -> None:
        """Raises `ValueError` for layers of the distillation losses that a network lacks, that cannot be compared,
        or that quantization-aware training cannot use: before any training."""
        layers = Layers.of(self.recipe.distillation)
        trains = any(entry.trains for entry in self.recipe.stages)
        if not layers.student or not trains:
            return
        student = self.build_student()
        ours = feature_sizes(student, self.student_spec.example(), layers.student)
        for name, teacher in self.recipe.named_teachers.items():
            model, spec = self.build_teacher(name), teacher_spec(teacher, self.data.spec)
            build_losses(
                self.recipe.distillation,
                student=ours,
                teacher=feature_sizes(model, spec.example(), layers.teacher),
                seed=self.recipe.seed,
            )
        if any(one.trains and STAGES[one.verb].gives is Form.QUANTIZED for one in self.recipe.stages):
            check_rounded_layers(Artifact(model=student, spec=self.student_spec), layers.student)

    def check_float_layers(self) -> None:
        """Raises `ValueError` for layers to keep in float that the int8 network lacks, before any training."""
        for index, entry in enumerate(self.recipe.stages):
            patterns = getattr(entry.config, "float_layers", ())
            if not patterns:
                continue
            try:
                check_float_layers(Artifact(model=self.build_student(), spec=self.student_spec), patterns)
            except ValueError as error:
                raise ValueError(f"stages.{index}.{entry.verb}.float_layers: {error}") from error

    def context(self, folder: Path, teachers: Sequence[Teacher]) -> Context:
        """The context of a stage that works in `folder`."""
        teacher = teachers[0] if teachers else None
        return Context(
            device=self.device,
            seed=self.recipe.seed,
            data=self.data,
            teacher=teacher,
            distillation=self.recipe.distillation,
            build_student=lambda: self.first_student(teacher),
            folder=folder,
            cache=self.cache,
            console=self.console,
            further_teachers=tuple(teachers[1:]),
        )

    def key(self, *, code: Iterable[str], **parts: Any) -> Key:
        """Hash of `parts`, the data, the seed, the device type, and the source of the modules `code`."""
        return content_key(code=code, **self._given, device=self.device.type, **parts)

    @property
    def origin(self) -> Key:
        """Hash of the user's input: the recipe without paths, the content of the data, the seed.

        Equal on all machines and in all folders; stored in the exported files.
        """
        recipe = self.recipe
        return Key.of(
            {
                **self._given,
                "teachers": {name: self.settings_of(one) for name, one in recipe.named_teachers.items()},
                "student": self.settings_of(recipe.student),
                "distillation": self.settings_of(recipe.distillation),
                "stages": [{entry.verb: self.settings_of(entry.config)} for entry in recipe.stages],
            }
        )

    def settings_of(self, section: BaseModel) -> dict[str, Any]:
        """A section of the recipe as plain data, with paths replaced by the content of the files."""
        plain = section.model_dump(mode="json")
        index = self.cache / DECODED / INDEX
        for place, path in paths_in(section):
            holder: Any = plain
            for name in place[:-1]:
                holder = holder[name]
            holder[place[-1]] = {"sha256": contents_of([path], index=index)[path]}
        if isinstance(section, FactoryTeacher | FactoryStudent):
            plain["source"] = source_of(section.factory)
        return plain

    @cached_property
    def _given(self) -> dict[str, Any]:
        splits = {"train": self.data.taught, "validation": self.data.validation, "test": self.data.test}
        return {
            "data": {name: clips.digest for name, clips in splits.items()},
            "tags": {name: [row.more for row in clips.rows] for name, clips in splits.items()},
            "spec": self.data.spec.to_dict(),
            "seed": self.recipe.seed,
        }


@dataclass(frozen=True, kw_only=True)
class StageOutcome:
    """A finished stage: its artifact, its logits on the test split, and whether it was cached."""

    path: str
    """Place in the recipe, such as `stages.0.distill`."""
    folder: str
    """Path in the run folder, such as `stages/01_distill`."""
    key: str
    artifact: Artifact
    test_logits: tuple[Tensor, ...]
    cached: bool
    rounded_from: StageOutcome | None = None
    """The float network that the stage quantized without training it; None for other stages."""

    @property
    def record(self) -> StageRecord:
        """The record of the stage."""
        return self.artifact.history[-1]

    @property
    def accuracy(self) -> list[Accuracy]:
        """Accuracy on the test split for each label column of the network."""
        return self._found(self.record["after"]["correct"])

    @property
    def labels_only(self) -> list[Accuracy] | None:
        """Accuracy of the same student trained on the labels alone; None if the stage trained none."""
        correct = self.record["after"].get("labels_only_correct")
        return None if correct is None else self._found(correct)

    def _found(self, correct: dict[str, int]) -> list[Accuracy]:
        clips = len(self.test_logits[0])
        return [Accuracy(correct=correct[label.name], total=clips) for label in self.artifact.spec.labels]


def shares(top1: float | dict[str, float]) -> str:
    """Top-1 in percent, by label column if there are several."""
    columns = top1 if isinstance(top1, dict) else {"": top1}
    return ", ".join(f"{column} {100 * share:.1f} %".strip() for column, share in columns.items())
