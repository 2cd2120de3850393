"""The teacher: trained here or brought by the user, run once per clip and view."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from benchmarks.clips.cache import ClipSet, View
from compress.artifact import Artifact, Context
from compress.console import bar
from compress.losses import cross_entropy, soft_targets
from compress.store import write_atomic
from compress.training import Batch, Objective, TrainConfig, learn_from_labels, logits_of
from models.spec import ClipSpec, as_tuple


class TaughtConfig(TrainConfig):
    """How a student is trained, and how it learns from its teacher's logits."""

    temperature: float = Field(default=2.0, gt=0, description="Softens both sides' classes; 1 leaves them.")
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

        `clips` has the inputs of the whole data set; the teacher is given those that it takes.
        """
        clips = clips.only(self.artifact.spec.inputs)
        name = hashlib.sha256(f"{self.key} {clips.digest} {view}".encode()).hexdigest()[:32]
        path = context.cache / "teacher" / f"{name}.safetensors"
        if not path.is_file():
            title = "teacher answers" + (f", view {view.number + 1}" if view else "")
            with bar(context.console, title) as report:
                columns = logits_of(
                    self.artifact.model, clips, batch=32, device=context.device, view=view, report=report
                )
            write_atomic(path, save({str(k): column for k, column in enumerate(columns)}))
        stored = load_file(path)
        return tuple(stored[str(k)] for k in range(len(stored)))


def learn_from_teacher(
    teacher: Teacher, clips: ClipSet, *, config: TaughtConfig, context: Context
) -> Objective:
    """Soft targets from the teacher's cached answers, mixed with the labels, summed over the label columns.

    `clips` is the training set with all inputs, whose indices the batches of `fit` use.
    """
    answers: dict[View | None, tuple[Tensor, ...]] = {}

    def objective(logits: tuple[Tensor, ...], batch: Batch) -> Tensor:
        view = batch.view and batch.view.clean
        if view not in answers:
            answers[view] = teacher.answers(clips, view=view, context=context)
        losses = []
        for k, (student, whole) in enumerate(zip(logits, answers[view], strict=True)):
            taught = soft_targets(
                student, whole[batch.indices].to(student.device), temperature=config.temperature
            )
            labelled = cross_entropy(student, batch.labels[:, k], label_smoothing=config.label_smoothing)
            losses.append((1 - config.label_weight) * taught + config.label_weight * labelled)
        return torch.stack(losses).sum()

    return objective


def best_objective(context: Context, *, config: TaughtConfig) -> Objective:
    """The teacher's soft targets where the recipe has a teacher, the labels alone where it has none."""
    if context.teacher is None:
        return learn_from_labels(label_smoothing=config.label_smoothing)
    return learn_from_teacher(context.teacher, context.data.train, config=config, context=context)


def import_factory(reference: str) -> Callable[[ClipSpec], nn.Module]:
    """The function that `package.module:function` names. Importing it runs that module's code.

    Raises `ValueError` when the reference has another form or does not lead to a callable.
    """
    module_name, colon, attribute = reference.partition(":")
    if not colon or not module_name or not attribute:
        raise ValueError(f"a factory is written package.module:function, not {reference!r}")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise ValueError(f"cannot import {module_name!r} of factory {reference!r}: {error}") from error
    except AttributeError as error:
        raise ValueError(f"{module_name!r} has no {attribute!r} (factory {reference!r})") from error
    if not callable(factory):
        raise ValueError(f"factory {reference!r} is a {type(factory).__name__}, not a function")
    return factory


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a state dict from `.safetensors`, or from a torch file with `weights_only=True`.

    Raises `ValueError` for a file of another kind, and when names or shapes do not agree with the network.
    """
    try:
        if path.suffix == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(weights)
    except (SafetensorError, UnpicklingError) as error:
        raise ValueError(
            f"{path} is not a plain file of weights (safetensors, or a state dict saved by torch.save): {error}"
        ) from error
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{path} does not hold the weights of this network: {error}") from error


def check_answers(model: nn.Module, spec: ClipSpec, *, what: str) -> None:
    """Runs the network on one example; raises `ValueError` when its logits are not what the data needs."""
    with torch.no_grad():
        columns = as_tuple(model(*spec.example()))
    given = [tuple(column.shape) for column in columns]
    wanted = [(1, len(label.classes)) for label in spec.labels]
    if given != wanted:
        names = ", ".join(f"{label.name} ({len(label.classes)} classes)" for label in spec.labels)
        raise ValueError(
            f"{what} gives logits of shape {given}; the data's label columns {names} need {wanted}"
        )
