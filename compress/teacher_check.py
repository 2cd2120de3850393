"""Whether a teacher's answers can be learned from: asked once on random clips before any is decoded, if it is a
user's, and once on real ones before any student is trained.

What is wrong with a teacher otherwise shows hours later: as a loss that is not a number, as a student of noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.clips.clip_set import ClipSet
from compress.command.sentence import in_a_sentence
from compress.command.user_code import UserCodeFailed, user_code
from models.spec import ClipSpec

CLIPS = 4
"""Clips that the teacher is asked about."""
_TOLERANCE = 5e-3
"""Of the largest logit: what the order of float32 additions may change, on a CPU or with TF32 on an accelerator."""


def check_on_clips(
    model: nn.Module, spec: ClipSpec, clips: ClipSet, *, device: torch.device, what: str
) -> None:
    """Asks the network about a few clips, which have the inputs of `spec`, as `check_on_inputs` does."""
    places = torch.linspace(0, len(clips) - 1, min(CLIPS, len(clips))).round().long().tolist()
    check_on_inputs(model, spec, clips.batch(places), device=device, what=what)


def check_on_inputs(
    model: nn.Module, spec: ClipSpec, inputs: tuple[Tensor, ...], *, device: torch.device, what: str
) -> None:
    """Asks the network about inputs of several clips in several ways.

    `model` is moved to `device` and has to be in eval mode. Raises `ValueError` for answers that are no logits, are
    not finite, differ from one call to the next, or depend on which clips a batch holds and on their order.
    """
    model.to(device)
    inputs = tuple(x.to(device) for x in inputs)
    with torch.no_grad():
        first = run_network(model, inputs, spec, what=what)
        _require_finite(first, model, inputs, spec, what=what)
        again = run_network(model, inputs, spec, what=what)
        mode = _in_train_mode(model) or _OTHERWISE
        _require_same(
            first, again, spec, what=f"{what} answers the same clips differently when asked twice", mode=mode
        )
        order = list(range(len(inputs[0])))[::-1]
        turned = run_network(model, tuple(x[order] for x in inputs), spec, what=what)
        back = tuple(column[order] for column in turned)
        _require_same(
            first, back, spec, what=f"{what} answers by the order of the clips in a batch", mode=mode
        )
        alone = run_network(model, tuple(x[:1] for x in inputs), spec, what=what)
        first_alone = tuple(column[:1] for column in first)
        _require_same(first_alone, alone, spec, what=f"{what} answers by what else is in a batch", mode=mode)


def run_network(
    model: nn.Module, inputs: tuple[Tensor, ...], spec: ClipSpec, *, what: str
) -> tuple[Tensor, ...]:
    """A network's answers, one tensor a task; `ValueError` when it fails or answers what the data does not need."""
    try:
        with torch.no_grad(), user_code(f"{what}, forward of {type(model).__name__}"):
            given = model(*inputs)
    except UserCodeFailed:
        raise
    except Exception as error:  # the user's own code
        shapes = ", ".join(f"{name} {list(x.shape)}" for name, x in zip(spec.inputs, inputs, strict=True))
        reason = f"{in_a_sentence(error)}{_in_train_mode(model)}"
        raise ValueError(f"{what} does not take the inputs {shapes}: {reason}") from error
    return checked_logits(given, spec, clips=len(inputs[0]), what=what)


_OTHERWISE = (
    ". Look for a dropout or a random number that does not ask self.training, for a BatchNorm without running "
    "statistics, and for state that is kept between calls"
)


def _in_train_mode(model: nn.Module) -> str:
    """Advice on modules in train mode; empty when there are none."""
    training = [name or type(module).__name__ for name, module in model.named_modules() if module.training]
    if not training:
        return ""
    return (
        f". {len(training)} of its modules {'is' if len(training) == 1 else 'are'} in train mode, the first is "
        f"{training[0]}: let the factory return it after eval()"
    )


def check_logits(model: nn.Module, spec: ClipSpec, *, what: str) -> None:
    """Runs the network on one example; raises `ValueError` when its logits are not what the data needs."""
    run_network(model, spec.example(), spec, what=what)


def checked_logits(given: object, spec: ClipSpec, *, clips: int, what: str) -> tuple[Tensor, ...]:
    """A network's answers as one tensor a task; `ValueError` when they are not what the data needs."""
    columns = given if isinstance(given, tuple) else (given,)
    wanted = [(clips, len(column.classes)) for column in (*spec.labels, *spec.tags)]
    names = ", ".join(
        f"{column.name} ({len(column.classes)} classes)" for column in (*spec.labels, *spec.tags)
    )
    need = f"the data's label columns {names} need {wanted}"
    for column in columns:
        if not isinstance(column, Tensor):
            known = ", ".join(map(str, list(column)[:5])) if isinstance(column, dict) else ""
            keys = f" with the keys {known}" if known else ""
            raise ValueError(
                f"{what} gives a {type(column).__name__}{keys}, not a tensor, or a tuple of tensors; {need}"
            )
        if not column.is_floating_point():
            raise ValueError(f"{what} gives {column.dtype}, not logits in floating point; {need}")
    tensors = tuple(column for column in columns if isinstance(column, Tensor))
    shapes = [tuple(column.shape) for column in (tensors[:-1] if spec.retrieval else tensors)]
    if shapes != wanted:
        raise ValueError(f"{what} gives logits of shape {shapes}; {need}")
    return tensors


def require_finite_logits(columns: Sequence[Tensor], spec: ClipSpec, *, names: Sequence[str]) -> None:
    """Raises `ValueError` naming the first clip whose logits are not finite; `names` says what clips are called."""
    for label, column in zip(spec.labels, columns, strict=False):
        bad = (~torch.isfinite(column)).any(1).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                f"the teacher's answers to {len(bad)} of {len(column)} clips are NaN or infinite in the column "
                f"{label.name}, the first to {names[bad[0]]}: its weights, or what it does with this clip, are at "
                "fault, no setting of the student's training"
            )


def _require_finite(
    columns: Sequence[Tensor], model: nn.Module, inputs: Sequence[Tensor], spec: ClipSpec, *, what: str
) -> None:
    tasks = [column.name for column in (*spec.labels, *spec.tags)] + ["retrieval"] * spec.retrieval
    for task, column in zip(tasks, columns, strict=True):
        if bool(torch.isfinite(column).all()):
            continue
        broken = [
            name
            for name, value in (*model.named_parameters(), *model.named_buffers())
            if value.is_floating_point() and not bool(torch.isfinite(value).all())
        ]
        unfit = [
            name for name, x in zip(spec.inputs, inputs, strict=True) if not bool(torch.isfinite(x).all())
        ]
        if broken:
            why = f"{len(broken)} of its weights are NaN or infinite themselves, the first is {broken[0]}"
        elif unfit:
            why = f"the input {unfit[0]} is NaN or infinite itself; look at clip.mean and clip.std"
        else:
            why = "its weights and inputs are finite: it overflows, or divides by zero, on the way"
        raise ValueError(
            f"{what} answers NaN or infinity in the column {task}; {why}. No learning rate helps against that"
        )


def _require_same(
    first: Sequence[Tensor], second: Sequence[Tensor], spec: ClipSpec, *, what: str, mode: str
) -> None:
    tasks = [column.name for column in (*spec.labels, *spec.tags)] + ["retrieval"] * spec.retrieval
    for task, one, other in zip(tasks, first, second, strict=True):
        scale = max(float(one.abs().max()), float(other.abs().max()))
        difference = float((one - other).abs().max())
        if not difference <= _TOLERANCE * scale + 1e-6:
            raise ValueError(
                f"{what}: logits of the column {task} differ by {difference:.3g}, the largest is {scale:.3g}{mode}"
            )
