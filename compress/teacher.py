"""The teacher: trained here or brought by the user, run once per clip and view."""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import load_file, save
from torch import Tensor, nn

from benchmarks.clips.cache import ClipSet, View
from compress.artifact import Artifact, Context
from compress.command.lines import at_line
from compress.command.user_code import user_code
from compress.console import bar
from compress.folders.writing import naming
from compress.losses import cross_entropy, soft_targets
from compress.store import one_at_a_time, stored, write_atomic
from compress.teacher_answers import ask, require_finite_answers
from compress.training import Batch, Objective, TrainConfig, learn_from_labels, logits_of
from export.child import in_a_sentence
from models.spec import ClipSpec
from models.teachers.checkpoints import load_public
from models.teachers.modular import ModularTeacher

_ANSWERS = "answers.safetensors"
_WRAPPERS = ("state_dict", "model_state", "model")
"""Keys under which published files keep their state dict."""


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
                    self.artifact.model, clips, batch=32, device=context.device, view=view, report=report
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


def import_factory(reference: str) -> Callable[[ClipSpec], nn.Module]:
    """The function that `package.module:function` names. Importing it runs that module's code.

    Raises `ValueError` when the reference has another form or does not lead to a callable.
    """
    module_name, colon, attribute = reference.partition(":")
    if not colon or not module_name or not attribute:
        raise ValueError(f"a factory is written package.module:function, not {reference!r}")
    with user_code(f"importing {module_name!r} of factory {reference!r}"):
        try:
            module = importlib.import_module(module_name)
        except Exception as error:
            raise ValueError(
                f"cannot import {module_name!r} of factory {reference!r}: {in_a_sentence(error)}{at_line(error)}"
            ) from error
        if not hasattr(module, attribute):
            close = get_close_matches(attribute, dir(module), n=1)
            more = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"{module_name!r} has no {attribute!r} (factory {reference!r}){more}")
        factory = getattr(module, attribute)
    if not callable(factory):
        raise ValueError(f"factory {reference!r} is a {type(factory).__name__}, not a function")
    try:
        inspect.signature(factory).bind(None)
    except TypeError as error:
        raise ValueError(
            f"factory {reference!r} is called with one argument, the `ClipSpec` of the data, which it does not "
            f"take: {error}"
        ) from error
    except ValueError:  # its signature is not known
        pass
    return factory


def build_network(reference: str, spec: ClipSpec) -> nn.Module:
    """The network that the factory `reference` gives for clips of `spec`, in eval mode.

    Raises `ValueError` for a factory that fails or gives anything else.
    """
    factory = import_factory(reference)
    with user_code(f"calling factory {reference!r}"):
        try:
            network = factory(spec)
            if isinstance(network, nn.Module):
                network.eval()
        except Exception as error:
            raise ValueError(
                f"factory {reference!r} failed: {in_a_sentence(error)}{at_line(error)}"
            ) from error
    if not isinstance(network, nn.Module):
        given = (
            "None; does it return the network? (eval() gives None where train() returns nothing)"
            if network is None
            else type(network).__name__
        )
        raise ValueError(f"factory {reference!r} gives {given}; it must give a torch.nn.Module")
    return network


def source_of(reference: str) -> str:
    """Hex SHA-256 of the file that holds a factory; of what it imports in turn nothing is known."""
    factory = inspect.unwrap(import_factory(reference))
    try:
        path = inspect.getsourcefile(factory)
    except TypeError:  # an object that can be called
        path = inspect.getsourcefile(type(factory)) if type(factory).__module__ != "builtins" else None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads a state dict from `.safetensors`, or from a torch file with `weights_only=True`.

    Raises `ValueError` for a file of another kind, and when names or shapes do not agree with the network.
    """
    weights = _read_weights(path)
    if not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"{path} holds more than the weights of a network; save its state_dict() alone")
    try:
        with user_code(f"loading the weights of {type(model).__name__}"):
            model.load_state_dict(weights)
    except Exception as error:
        raise ValueError(f"{path} does not hold the weights of this network: {error}") from error


def load_pretrained(teacher: nn.Module, options: Any, path: Path) -> str:
    """Loads public weights into the teacher's video encoder; gives a note that says what was loaded.

    Raises `ValueError` for a teacher without a video encoder or one that has no public weights, and for a file that
    does not hold them.
    """
    encoder = getattr(getattr(options, "video", None), "name", None)
    if encoder is None or not isinstance(teacher, ModularTeacher) or "clip" not in teacher.encoders:
        raise ValueError(f"{path}: pretrained weights are for the video encoder of the teacher `modular`")
    weights = _read_weights(path)
    for key in _WRAPPERS:
        inner = weights.get(key, weights)
        weights = inner if isinstance(inner, dict) else weights
    module = teacher.encoders["clip"]
    try:
        absent = load_public(getattr(module, "network", module), weights, encoder=encoder)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return f"{encoder} started from {path.name}" + (f", without {len(absent)} tensors" if absent else "")


def _read_weights(path: Path) -> dict[str, Any]:
    """What a file of weights holds; `ValueError` for a file of another kind."""
    if not path.is_file():
        why = "is no regular file" if path.exists() else "there is no such file"
        raise FileNotFoundError(f"{path}: {why}")
    try:
        with naming(path):
            if path.suffix == ".safetensors":
                return load_file(path)
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a broken file makes of the readers is of many types
        if isinstance(error, OSError) and error.errno is not None:
            raise  # it may not be read
        raise ValueError(
            f"{path} is not a plain file of weights (safetensors, or a state dict saved by torch.save): "
            f"{in_a_sentence(error)}"
        ) from error
    if not isinstance(weights, dict):
        raise ValueError(f"{path} holds a {type(weights).__name__}, not a state dict; save net.state_dict()")
    return weights


def check_answers(model: nn.Module, spec: ClipSpec, *, what: str) -> None:
    """Runs the network on one example; raises `ValueError` when its logits are not what the data needs."""
    ask(model, spec.example(), spec, what=what)
