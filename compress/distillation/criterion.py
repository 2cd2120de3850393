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
from compress.criterion import Batch, Criterion, LabelCriterion, Outputs
from compress.distillation import LOSSES
from compress.distillation.config import DistillationConfig
from compress.distillation.loss import DistillationLoss, Pair
from compress.distillation.online import OnlineTeacher
from compress.features import feature_sizes
from compress.losses import cross_entropy
from compress.stage import Context
from compress.training import TrainConfig, augmentations_of, drawn
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class Shared:
    """The label columns that student and teacher share: their indices in each."""

    student: tuple[int, ...]
    teacher: tuple[int, ...]

    @classmethod
    def of(cls, student: ClipSpec, teacher: ClipSpec) -> Shared:
        """Matches columns by name. Raises `ValueError` if none is shared."""
        taught = {label.name: number for number, label in enumerate(teacher.labels)}
        both = [k for k, label in enumerate(student.labels) if label.name in taught]
        if not both:
            raise ValueError(
                f"the teacher has the label columns {', '.join(taught)}, the student "
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
        outputs: Mapping[Augmentation | None, Outputs] | OnlineTeacher,
        *,
        shared: Shared,
        config: DistillationConfig,
        label_smoothing: float,
    ) -> None:
        """`outputs` are those of the teacher for all training clips, by augmentation, or computed in every step."""
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        names = [name for loss in losses.values() for name in loss.student_features]
        self.features = tuple(dict.fromkeys(names))
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
        teacher = self._of_teacher(batch, device=outputs.logits[0].device)
        for name, loss in self.losses.items():
            weight = (1 - of_labels) * self._config.losses[name]
            values = loss(student, teacher)
            if values.dim() == 0:
                parts.append(weight * values)
                continue
            for k, value in zip(self._columns, values, strict=True):
                parts[k] = weight * value + parts[k]
        return torch.stack(parts).sum()

    def _of_teacher(self, batch: Batch, *, device: torch.device) -> Outputs:
        """The outputs of the teacher for a batch, in the shared label columns."""
        if isinstance(self._outputs, OnlineTeacher):
            found = self._outputs.outputs(batch)
        else:
            of_view = self._outputs[batch.augmentation and batch.augmentation.clean]
            found = of_view.of(batch.indices, device=device)
        return Outputs(logits=tuple(found.logits[k] for k in self._taught), features=found.features)


def learn_from_teacher(
    model: nn.Module, spec: ClipSpec, *, config: TrainConfig, context: Context
) -> DistillationCriterion:
    """The criterion for distilling the teacher into `model` of `spec`; computes all outputs of the teacher.

    Outputs are cached across trainings; with `views: fresh` they are computed in every step. Raises `ValueError`
    if there is no teacher, if it shares no label column with the student, and for features that a network does not
    have.
    """
    teacher = context.teacher
    if teacher is None:
        raise ValueError("there is no teacher to learn from; the recipe has none")
    settings = context.distillation
    shared = Shared.of(spec, teacher.artifact.spec)
    rows = {name: LOSSES[name] for name in settings.losses}
    theirs = tuple(dict.fromkeys(name for row in rows.values() for name in row.teacher_features))
    ours = tuple(dict.fromkeys(name for row in rows.values() for name in row.student_features))
    pair = Pair(
        temperature=settings.temperature,
        classes=tuple(len(spec.labels[k].classes) for k in shared.student),
        student=feature_sizes(model, spec, ours),
        teacher=feature_sizes(teacher.artifact.model, teacher.artifact.spec, theirs),
    )
    losses = {name: drawn(lambda row=row: row(pair), seed=context.seed) for name, row in rows.items()}  # type: ignore[misc]
    outputs: Mapping[Augmentation | None, Outputs] | OnlineTeacher
    if config.views == "fresh":
        outputs = OnlineTeacher(teacher, context.data.train, features=theirs, device=context.device)
    else:
        outputs = {
            augmentation: teacher.outputs(
                context.data.train,
                augmentation=augmentation,
                features=theirs,
                device=context.device,
                cache=context.cache,
                console=context.console,
            )
            for augmentation in augmentations_of(config, seed=context.seed)
        }
    return DistillationCriterion(
        losses, outputs, shared=shared, config=settings, label_smoothing=config.label_smoothing
    )


def best_criterion(model: nn.Module, spec: ClipSpec, *, config: TrainConfig, context: Context) -> Criterion:
    """The distillation criterion if the recipe has a teacher, else that of the labels alone."""
    if context.teacher is None:
        return LabelCriterion(label_smoothing=config.label_smoothing)
    return learn_from_teacher(model, spec, config=config, context=context)
