"""The distillation criterion of all training stages: losses with the teacher and with the labels.

Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network"; the same augmentation for
teacher and student: Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from benchmarks.clips.clip_set import Augmentation
from compress.cached_outputs import CachedOutputs
from compress.criterion import Batch, Criterion, LabelCriterion, Outputs
from compress.distillation import LOSSES
from compress.distillation.config import DistillationConfig
from compress.distillation.loss import DistillationLoss, Pair
from compress.features import feature_sizes
from compress.losses import cross_entropy
from compress.stage import Context
from compress.teacher import kept_notes, outputs_of
from compress.training import TrainConfig, augmentations_of, drawn
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The label columns that student and teacher share: their indices in each."""

    student: tuple[int, ...]
    teacher: tuple[int, ...]

    @classmethod
    def of(cls, student: ClipSpec, teacher: ClipSpec, *, name: str = "teacher") -> Shared:
        """Matches columns by name. Raises `ValueError` if none is shared."""
        taught = {label.name: number for number, label in enumerate(teacher.labels)}
        both = [k for k, label in enumerate(student.labels) if label.name in taught]
        if not both:
            raise ValueError(
                f"the {name} has the label columns {', '.join(taught)}, the student "
                f"{', '.join(label.name for label in student.labels)}: they share none"
            )
        return cls(student=tuple(both), teacher=tuple(taught[student.labels[k].name] for k in both))


class Lessons(nn.Module):
    """The distillation losses with one teacher, for the label columns that it shares with the student."""

    def __init__(
        self,
        losses: Mapping[str, DistillationLoss],
        outputs: Mapping[Augmentation | None, Outputs | CachedOutputs],
        *,
        shared: Shared,
        weights: Mapping[str, float],
        share: float = 1.0,
    ) -> None:
        """`outputs` are those of the teacher for all training clips, by augmentation; `weights` are those of the
        losses, and `share` is the weight of the teacher relative to the sum over all teachers."""
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.columns = shared.student
        self.share = share
        self._outputs = outputs
        self._shared = shared
        self._weights = weights

    def forward(self, outputs: Outputs, batch: Batch) -> tuple[dict[int, Tensor], Tensor]:
        """The weighted losses of a batch: those by label column of the student, and those of single values."""
        student = Outputs(
            logits=tuple(outputs.logits[k] for k in self._shared.student), features=outputs.features
        )
        taught = self._outputs[batch.augmentation and batch.augmentation.clean]
        teacher = taught.of(batch.indices, device=outputs.logits[0].device)
        teacher = Outputs(
            logits=tuple(teacher.logits[k] for k in self._shared.teacher), features=teacher.features
        )
        of_columns: dict[int, Tensor] = {}
        single = outputs.logits[0].new_zeros(())
        for name, loss in self.losses.items():
            values = self._weights[name] * loss(student, teacher)
            if values.dim() == 0:
                single = single + values
                continue
            for k, value in zip(self.columns, values, strict=True):
                of_columns[k] = of_columns[k] + value if k in of_columns else value
        return of_columns, single


class DistillationCriterion(Criterion):
    """The distillation losses, weighted with the cross-entropy of the labels, summed over the label columns.

    The losses of several teachers are averaged with their weights: in a label column over those that predict it,
    and losses of single values over all. A label column that no teacher predicts is learned from the labels alone.
    """

    def __init__(
        self,
        lessons: Sequence[Lessons],
        *,
        config: DistillationConfig,
        label_smoothing: float,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.lessons = nn.ModuleList(lessons)
        names = [n for one in lessons for loss in one.losses.values() for n in loss.student_features]  # type: ignore[operator,union-attr]
        self.features = tuple(dict.fromkeys(names))
        self.notes = notes
        columns = sorted({k for one in lessons for k in one.columns})
        self._shares = {k: sum(one.share for one in lessons if k in one.columns) for k in columns}
        self._config = config
        self._label_smoothing = label_smoothing

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The loss of a batch: a scalar."""
        of_labels = self._config.label_weight
        parts = [
            cross_entropy(column, batch.labels[:, k], label_smoothing=self._label_smoothing)
            for k, column in enumerate(outputs.logits)
        ]
        for k in self._shares:
            parts[k] = of_labels * parts[k]
        whole = sum(one.share for one in self._lessons())
        for one in self._lessons():
            of_columns, single = one(outputs, batch)
            for k, value in of_columns.items():
                parts[k] = parts[k] + (1 - of_labels) * one.share / self._shares[k] * value
            parts.append((1 - of_labels) * one.share / whole * single)
        return torch.stack(parts).sum()

    def _lessons(self) -> list[Lessons]:
        return cast(list[Lessons], list(self.lessons))


def learn_from_teacher(
    model: nn.Module, spec: ClipSpec, *, config: TrainConfig, context: Context
) -> DistillationCriterion:
    """The criterion for distilling the teachers into `model` of `spec`; computes all outputs of the teachers.

    Outputs are cached across trainings. Raises `ValueError` if there is no teacher, if one shares no label column
    with the student, and for features that a network does not have.
    """
    teachers = context.teachers
    if not teachers:
        raise ValueError("there is no teacher to learn from; the recipe has none")
    settings = context.distillation
    shared = [Shared.of(spec, teacher.artifact.spec, name=teacher.name) for teacher in teachers]
    rows = {name: LOSSES[name] for name in settings.losses}
    theirs = tuple(dict.fromkeys(name for row in rows.values() for name in row.teacher_features))
    ours = tuple(dict.fromkeys(name for row in rows.values() for name in row.student_features))
    of_student = feature_sizes(model, spec, ours)
    pairs = [
        Pair(
            temperature=settings.temperature,
            classes=tuple(len(spec.labels[k].classes) for k in common.student),
            student=of_student,
            teacher=feature_sizes(teacher.artifact.model, teacher.artifact.spec, theirs),
        )
        for teacher, common in zip(teachers, shared, strict=True)
    ]
    outputs = outputs_of(
        teachers,
        context.data.train,
        views=augmentations_of(config, seed=context.seed),
        features=[theirs] * len(teachers),
        device=context.device,
        cache=context.cache,
        console=context.console,
    )
    lessons = [
        Lessons(
            {
                name: drawn(lambda row=row, pair=pair: row(pair), seed=context.seed)  # type: ignore[misc]
                for name, row in rows.items()
            },
            found,
            shared=common,
            weights=settings.losses,
            share=teacher.weight,
        )
        for teacher, common, pair, found in zip(teachers, shared, pairs, outputs, strict=True)
    ]
    notes = [
        note for teacher, found in zip(teachers, outputs, strict=True) for note in kept_notes(teacher, found)
    ]
    return DistillationCriterion(
        lessons, config=settings, label_smoothing=config.label_smoothing, notes=tuple(notes)
    )


def best_criterion(model: nn.Module, spec: ClipSpec, *, config: TrainConfig, context: Context) -> Criterion:
    """The distillation criterion if the recipe has a teacher, else that of the labels alone."""
    if not context.teachers:
        return LabelCriterion(label_smoothing=config.label_smoothing)
    return learn_from_teacher(model, spec, config=config, context=context)
