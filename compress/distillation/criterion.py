"""The distillation criterion of all training stages: losses with the teacher and with the labels.

Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network"; the same augmentation for
teacher and student: Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent"; without
the teacher's wrong predictions: Zhao et al. 2020, "Hearing Lips: Improving Lip Reading by Distilling Speech
Recognizers".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.clips.clip_set import Augmentation, ClipSet
from compress.cached_outputs import CachedOutputs
from compress.criterion import Batch, Criterion, LabelCriterion, Outputs
from compress.distillation import LOSSES
from compress.distillation.config import DistillationConfig
from compress.distillation.loss import FeatureLoss, LayerSettings, LogitLoss, LossSettings, Size
from compress.distillation.online import OnlineTeacher
from compress.distillation.several import SeveralTeachers
from compress.features import example_of, feature_sizes
from compress.losses import cross_entropy
from compress.stage import Context
from compress.teacher import Teacher, kept_notes, outputs_of
from compress.training import LEAST_CLIPS, TrainConfig, augmentations_of, drawn
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


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The layers that the losses of a recipe compare."""

    student: tuple[str, ...]
    teacher: tuple[str, ...]

    @classmethod
    def of(cls, settings: DistillationConfig) -> Layers:
        """The names in the order of the losses, each once."""
        named = [one for _, _, one in settings.losses.chosen() if isinstance(one, LayerSettings)]
        return cls(
            student=tuple(dict.fromkeys(one.student for one in named)),
            teacher=tuple(dict.fromkeys(one.teacher for one in named)),
        )


def build_losses(
    settings: DistillationConfig, *, student: Mapping[str, Size], teacher: Mapping[str, Size], seed: int
) -> dict[str, LogitLoss | FeatureLoss]:
    """The losses of a recipe by name, with parameters drawn from `seed`.

    `student` and `teacher` are the sizes of `Layers`. Raises `ValueError` for layers that cannot be compared.
    """

    def built(row: str, given: LossSettings) -> LogitLoss | FeatureLoss:
        if not isinstance(given, LayerSettings):
            return LOSSES[row](given)  # type: ignore[call-arg,arg-type]
        sizes = {"student": student[given.student], "teacher": teacher[given.teacher]}
        return LOSSES[row](given, **sizes)  # type: ignore[arg-type]

    return {
        name: drawn(lambda row=row, given=given: built(row, given), seed=seed)  # type: ignore[misc]
        for name, row, given in settings.losses.chosen()
    }


_TaughtBy = Mapping[Augmentation | None, CachedOutputs] | OnlineTeacher
"""The outputs of a teacher: cached by view, or computed in every step."""


class DistillationCriterion(Criterion):
    """The weighted sum of the distillation losses and of the cross-entropy with the labels.

    Losses on logits are summed over the shared label columns. A label column that the teacher lacks is learned from
    the labels alone, with weight 1; with `correct_only`, so is a clip that the teacher misclassifies. A clip
    without a label (-1) is learned from the teacher alone.
    """

    def __init__(
        self,
        losses: Mapping[str, LogitLoss | FeatureLoss],
        outputs: _TaughtBy,
        *,
        shared: Shared,
        config: DistillationConfig,
        label_smoothing: float,
        notes: tuple[str, ...] = (),
    ) -> None:
        """`outputs` are those of the teacher for all training clips, by augmentation, or computed in every step."""
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.features = Layers.of(config).student
        self._settings = {name: settings for name, _, settings in config.losses.chosen()}
        self.notes = notes
        self._outputs = outputs
        self._taught = shared.teacher
        self._columns = shared.student
        self._config = config
        self._label_smoothing = label_smoothing

    def parts(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss with the labels, and that with the teacher: two scalars whose sum is the loss of the batch."""
        teacher = self._taught_outputs(batch, device=outputs.logits[0].device)
        right: dict[int, Tensor] = {}
        if self._config.correct_only:
            right = {
                k: (column.argmax(1) == batch.labels[:, k]) | (batch.labels[:, k] < 0)
                for k, column in zip(self._columns, teacher.logits, strict=True)
            }
        return self._of_labels(outputs, batch, right), self._of_teacher(outputs, teacher, batch, right)

    def _of_labels(self, outputs: Outputs, batch: Batch, right: Mapping[int, Tensor]) -> Tensor:
        parts = []
        for k, column in enumerate(outputs.logits):
            labels, weight = batch.labels[:, k], self._config.label_weight if k in self._columns else 1.0
            weights = (
                torch.where(right[k], weight, 1.0) if k in right else torch.full_like(column[:, 0], weight)
            )
            value = cross_entropy(
                column,
                labels.clamp(min=0),
                label_smoothing=self._label_smoothing,
                weights=weights * (labels >= 0),
            )
            parts.append(value)
        return torch.stack(parts).sum()

    def _of_teacher(
        self, outputs: Outputs, teacher: Outputs, batch: Batch, right: Mapping[int, Tensor]
    ) -> Tensor:
        all_right = torch.stack([*right.values()]).all(0) if right else None
        parts = []
        for name, loss in self.losses.items():
            given = self._settings[name]
            if isinstance(given, LayerSettings):
                ours, theirs = outputs.features[given.student], teacher.features[given.teacher]
                parts.append(given.weight * _over(all_right, loss, ours, theirs))
                continue
            for k, theirs in zip(self._columns, teacher.logits, strict=True):
                ours, labels = outputs.logits[k], batch.labels[:, k]
                chosen = right.get(k)
                if loss.needs_labels and (labels < 0).any():
                    chosen = labels >= 0 if chosen is None else chosen & (labels >= 0)
                parts.append(given.weight * _over(chosen, loss, ours, theirs, labels))
        return torch.stack(parts).sum()

    def _taught_outputs(self, batch: Batch, *, device: torch.device) -> Outputs:
        """The outputs of the teacher for a batch, in the shared label columns."""
        if isinstance(self._outputs, OnlineTeacher):
            found = self._outputs.outputs(batch)
        else:
            of_view = self._outputs[batch.augmentation and batch.augmentation.clean]
            found = of_view.of(batch.indices, device=device)
        return Outputs(logits=tuple(found.logits[k] for k in self._taught), features=found.features)


def _over(chosen: Tensor | None, loss: Callable[..., Tensor], *given: Tensor) -> Tensor:
    """The loss over the clips of `chosen`, times their share of the batch; 0 for a single one, which has no
    relations to others and no variance."""
    if chosen is None:
        return loss(*given)
    if chosen.sum() < LEAST_CLIPS:
        return given[0].sum() * 0.0
    return chosen.float().mean() * loss(*(one[chosen] for one in given))


def learn_from_teacher(
    model: nn.Module,
    spec: ClipSpec,
    *,
    config: TrainConfig,
    context: Context,
    clips: ClipSet | None = None,
) -> Criterion:
    """The criterion for distilling the teachers into `model` of `spec`; computes all their outputs.

    `clips` are those of the training, by default the training clips with labels.

    Outputs are cached across trainings; with `views: fresh` they are computed in every step. Raises `ValueError`
    if there is no teacher, if one shares no label column with the student, and for layers that a network does not
    have or that cannot be compared.
    """
    teachers = context.teachers
    clips = context.data.train if clips is None else clips
    if not teachers:
        raise ValueError("there is no teacher to learn from; the recipe has none")
    for teacher in teachers:
        Shared.of(spec, teacher.artifact.spec, name=teacher.name)
    layers = Layers.of(context.distillation).teacher
    outputs: Sequence[_TaughtBy]
    if config.views == "fresh":
        outputs = [
            OnlineTeacher(teacher, clips, features=layers, device=context.device) for teacher in teachers
        ]
    else:
        outputs = outputs_of(
            teachers,
            clips,
            views=augmentations_of(config, seed=context.seed),
            features=layers,
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


def _learn_from(
    teacher: Teacher,
    outputs: _TaughtBy,
    model: nn.Module,
    spec: ClipSpec,
    *,
    config: TrainConfig,
    context: Context,
) -> DistillationCriterion:
    settings = context.distillation
    shared = Shared.of(spec, teacher.artifact.spec)
    layers = Layers.of(settings)
    losses = build_losses(
        settings,
        student=feature_sizes(model, example_of(model, spec), layers.student),
        teacher=feature_sizes(
            teacher.artifact.model, example_of(teacher.artifact.model, teacher.artifact.spec), layers.teacher
        ),
        seed=context.seed,
    )
    notes = () if isinstance(outputs, OnlineTeacher) else kept_notes(teacher, outputs)
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


def teaching_notes(spec: ClipSpec, context: Context) -> tuple[str, ...]:
    """Notes for the report on what a training stage learns from the labels alone."""
    if not context.teachers:
        return ("learned from the labels alone: the recipe has no teacher",)
    notes = []
    for teacher in context.teachers:
        taught = {label.name for label in teacher.artifact.spec.labels}
        alone = ", ".join(label.name for label in spec.labels if label.name not in taught)
        if alone:
            notes.append(f"learned from the labels alone: {alone}, which the {teacher.name} lacks")
    return tuple(notes)
