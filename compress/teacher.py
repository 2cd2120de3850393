"""The teacher: run once per clip and view, and learned from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field
from safetensors.torch import load_file, save
from torch import Tensor

from benchmarks.clips.clip_set import ClipSet, View
from compress.artifact import Artifact, Context
from compress.console import bar
from compress.losses import cross_entropy, soft_targets
from compress.store import one_at_a_time, stored, write_atomic
from compress.teacher_answers import require_finite_answers
from compress.training import FLOAT_BATCH, Batch, Objective, TrainConfig, learn_from_labels, logits_of
from models.spec import ClipSpec

_ANSWERS = "answers.safetensors"


class TaughtConfig(TrainConfig):
    """How a student is trained, and how it learns from its teacher's logits."""

    temperature: float = Field(
        default=2.0, ge=0.01, le=1_000, description="Softens both sides' classes; 1 leaves them."
    )
    label_weight: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Weight of the labels' cross-entropy; the teacher's soft targets have the rest.",
    )


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained network that is only asked, never changed."""

    artifact: Artifact
    key: str
    """Content hash of what made it; its cached answers are found by it."""

    def answers(self, clips: ClipSet, *, view: View | None, context: Context) -> tuple[Tensor, ...]:
        """Logits `N K` per label column of every clip in one view: computed once, then read from the cache.

        `clips` has the inputs of the whole data set; the teacher is given those that it takes. What it answers to
        tags and retrieval is not kept.
        """
        spec = self.artifact.spec
        clips = clips.seen_by(spec)
        name = hashlib.sha256(f"{self.key} {clips.digest} {view}".encode()).hexdigest()[:32]
        folder = context.cache / "teacher" / name
        title = "teacher answers" + (f", view {view.number + 1}" if view else "")

        def tell(sentence: str) -> None:
            context.console.print(sentence, markup=False, highlight=False, soft_wrap=True)

        def make(work: Path) -> None:
            with bar(context.console, title) as report:
                columns = logits_of(
                    self.artifact.model,
                    clips,
                    batch=FLOAT_BATCH,
                    device=context.device,
                    view=view,
                    report=report,
                )[: len(spec.labels)]
            require_finite_answers(columns, spec, names=[str(row.path) for row in clips.rows])
            content = save({str(k): column.contiguous() for k, column in enumerate(columns)})
            write_atomic(work / _ANSWERS, content)

        def load(finished: Path) -> tuple[Tensor, ...]:
            columns = load_file(finished / _ANSWERS)
            return tuple(columns[str(k)] for k in range(len(columns)))

        with one_at_a_time(folder, waiting=lambda who: tell(f"{title}: waiting for {who}")):
            return stored(
                folder, key=name, make=make, load=load, names=(_ANSWERS,), title=title, tell=tell
            ).value


def learn_from_teacher(
    teacher: Teacher, clips: ClipSet, *, spec: ClipSpec, config: TaughtConfig, context: Context
) -> Objective:
    """Soft targets from the teacher's cached answers, mixed with the labels, summed over the label columns.

    `clips` is the training set with all inputs, whose indices the batches of `fit` use; `spec` is the student's. A
    label column that the teacher does not answer is learned from the labels alone. Raises `ValueError` when it
    answers none of the student's.
    """
    taught = {label.name: number for number, label in enumerate(teacher.artifact.spec.labels)}
    if not any(label.name in taught for label in spec.labels):
        raise ValueError(
            f"the teacher answers {', '.join(taught)}, the student learns "
            f"{', '.join(label.name for label in spec.labels)}: they share no label column"
        )
    answers: dict[View | None, tuple[Tensor, ...]] = {}

    def objective(logits: tuple[Tensor, ...], batch: Batch) -> Tensor:
        view = batch.view and batch.view.clean
        if view not in answers:
            answers[view] = teacher.answers(clips, view=view, context=context)
        losses = []
        for k, (label, student) in enumerate(zip(spec.labels, logits, strict=True)):
            loss = cross_entropy(student, batch.labels[:, k], label_smoothing=config.label_smoothing)
            if label.name in taught:
                whole = answers[view][taught[label.name]]
                target = whole[batch.indices].to(student.device)
                softened = soft_targets(student, target, temperature=config.temperature)
                loss = (1 - config.label_weight) * softened + config.label_weight * loss
            losses.append(loss)
        return torch.stack(losses).sum()

    return objective


def best_objective(context: Context, *, spec: ClipSpec, config: TaughtConfig) -> Objective:
    """The teacher's soft targets where the recipe has a teacher, the labels alone where it has none."""
    if context.teacher is None:
        return learn_from_labels(label_smoothing=config.label_smoothing)
    return learn_from_teacher(context.teacher, context.data.train, spec=spec, config=config, context=context)
