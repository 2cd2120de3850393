"""The distillation criterion of all training stages: losses with the teacher and with the labels.

Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network"; the same augmentation for
teacher and student: Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.clips.clip_set import Augmentation
from compress.cached_outputs import CachedOutputs
from compress.criterion import Batch, Criterion, LabelCriterion, Outputs
from compress.distillation import LOSSES
from compress.distillation.config import DistillationConfig
from compress.distillation.loss import DistillationLoss, Pair
from compress.distillation.several import SeveralTeachers
from compress.features import feature_sizes
from compress.losses import cross_entropy
from compress.stage import Context
from compress.teacher import Teacher, kept_notes, outputs_of
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


class DistillationCriterion(Criterion):
    """The distillation losses, weighted with the cross-entropy of the labels, summed over the label columns.

    A label column that the teacher lacks is learned from the labels alone.
    """

    def __init__(
        self,
        losses: Mapping[str, DistillationLoss],
        outputs: Mapping[Augmentation | None, CachedOutputs],
        *,
        shared: Shared,
        config: DistillationConfig,
        label_smoothing: float,
        notes: tuple[str, ...] = (),
    ) -> None:
        """`outputs` are those of the teacher for all training clips, by augmentation."""
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        names = [name for loss in losses.values() for name in loss.student_features]
        self.features = tuple(dict.fromkeys(names))
        self.notes = notes
        self._outputs = outputs
        self._taught = shared.teacher
        self._columns = shared.student
        self._config = config
        self._label_smoothing = label_smoothing

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The loss of a batch: a scalar."""
        of_labels = self._config.label_weight
        parts = [
            cross_entropy(column, batch.labels[:, k], label_smoothing=self._label_smoothing)
            for k, column in enumerate(outputs.logits)
        ]
        for k in self._columns:
            parts[k] = of_labels * parts[k]
        student = Outputs(logits=tuple(outputs.logits[k] for k in self._columns), features=outputs.features)
        of_view = self._outputs[batch.augmentation and batch.augmentation.clean]
        found = of_view.of(batch.indices, device=outputs.logits[0].device)
        teacher = Outputs(logits=tuple(found.logits[k] for k in self._taught), features=found.features)
        for name, loss in self.losses.items():
            weight = (1 - of_labels) * self._config.losses[name]
            values = loss(student, teacher)
            if values.dim() == 0:
                parts.append(weight * values)
                continue
            for k, value in zip(self._columns, values, strict=True):
                parts[k] = weight * value + parts[k]
        return torch.stack(parts).sum()


def learn_from_teacher(
    model: nn.Module, spec: ClipSpec, *, config: TrainConfig, context: Context
) -> Criterion:
    """The criterion for distilling the teachers into `model` of `spec`; computes all their outputs.

    Outputs are cached across trainings. Raises `ValueError` if there is no teacher, if one shares no label column
    with the student, and for features that a network does not have.
    """
    teachers = context.teachers
    if not teachers:
        raise ValueError("there is no teacher to learn from; the recipe has none")
    for teacher in teachers:
        Shared.of(spec, teacher.artifact.spec, name=teacher.name)
    outputs = outputs_of(
        teachers,
        context.data.train,
        views=augmentations_of(config, seed=context.seed),
        features=teacher_features(context.distillation),
        device=context.device,
        cache=context.cache,
        console=context.console,
    )
    criteria = [
        _learn_from(teacher, found, model, spec, config=config, context=context)
        for teacher, found in zip(teachers, outputs, strict=True)
    ]
    if len(criteria) == 1:
        return criteria[0]
    return SeveralTeachers(criteria, weights=[teacher.weight for teacher in teachers])


def teacher_features(settings: DistillationConfig) -> tuple[str, ...]:
    """The features of a teacher that the losses need."""
    rows = [LOSSES[name] for name in settings.losses]
    return tuple(dict.fromkeys(name for row in rows for name in row.teacher_features))


def _learn_from(
    teacher: Teacher,
    outputs: Mapping[Augmentation | None, CachedOutputs],
    model: nn.Module,
    spec: ClipSpec,
    *,
    config: TrainConfig,
    context: Context,
) -> DistillationCriterion:
    settings = context.distillation
    shared = Shared.of(spec, teacher.artifact.spec)
    rows = {name: LOSSES[name] for name in settings.losses}
    theirs = teacher_features(settings)
    ours = tuple(dict.fromkeys(name for row in rows.values() for name in row.student_features))
    pair = Pair(
        temperature=settings.temperature,
        classes=tuple(len(spec.labels[k].classes) for k in shared.student),
        student=feature_sizes(model, spec, ours),
        teacher=feature_sizes(teacher.artifact.model, teacher.artifact.spec, theirs),
    )
    losses = {name: drawn(lambda row=row: row(pair), seed=context.seed) for name, row in rows.items()}  # type: ignore[misc]
    notes = kept_notes(teacher, outputs)
    for note in notes:
        context.console.print(f"  {note}", markup=False, soft_wrap=True)
    return DistillationCriterion(
        losses, outputs, shared=shared, config=settings, label_smoothing=config.label_smoothing, notes=notes
    )


def best_criterion(model: nn.Module, spec: ClipSpec, *, config: TrainConfig, context: Context) -> Criterion:
    """The distillation criterion if the recipe has a teacher, else that of the labels alone."""
    if not context.teachers:
        return LabelCriterion(label_smoothing=config.label_smoothing)
    return learn_from_teacher(model, spec, config=config, context=context)
