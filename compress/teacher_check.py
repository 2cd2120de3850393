"""Checks that the logits of a teacher are usable: on random clips before decoding, for a user teacher, and on real
clips before any student is trained.

Otherwise a faulty teacher shows only hours later, as a NaN loss or a useless student.
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
"""Number of clips for the check."""
_TOLERANCE = 5e-3
"""Tolerance relative to the largest logit, for float32 summation order on a CPU and TF32 on an accelerator."""


def check_on_clips(
    model: nn.Module, spec: ClipSpec, clips: ClipSet, *, device: torch.device, what: str
) -> None:
    """Runs `check_on_inputs` on a few clips with the inputs of `spec`."""
    places = torch.linspace(0, len(clips) - 1, min(CLIPS, len(clips))).round().long().tolist()
    check_on_inputs(model, spec, clips.batch(places), device=device, what=what)


def check_on_inputs(
    model: nn.Module, spec: ClipSpec, inputs: tuple[Tensor, ...], *, device: torch.device, what: str
) -> None:
    """Runs the network on the inputs of several clips, repeatedly and in other batches, and compares the logits.

    `model` is moved to `device` and must be in eval mode. Raises `ValueError` for outputs that are not logits, are
    not finite, are not deterministic, or depend on the other clips of a batch or on their order.
    """
    model.to(device)
    inputs = tuple(x.to(device) for x in inputs)
    with torch.no_grad():
        first = run_network(model, inputs, spec, what=what)
        _require_finite(first, model, inputs, spec, what=what)
        again = run_network(model, inputs, spec, what=what)
        mode = _in_train_mode(model) or _OTHERWISE
        _require_same(
            first,
            again,
            spec,
            what=f"{what} gives different logits for the same clips in two calls",
            mode=mode,
        )
        order = list(range(len(inputs[0])))[::-1]
        turned = run_network(model, tuple(x[order] for x in inputs), spec, what=what)
        back = tuple(column[order] for column in turned)
        _require_same(
            first,
            back,
            spec,
            what=f"{what} gives logits that depend on the order of the clips in a batch",
            mode=mode,
        )
        alone = run_network(model, tuple(x[:1] for x in inputs), spec, what=what)
        first_alone = tuple(column[:1] for column in first)
        _require_same(
            first_alone,
            alone,
            spec,
            what=f"{what} gives logits that depend on the other clips in a batch",
            mode=mode,
        )


def run_network(
    model: nn.Module, inputs: tuple[Tensor, ...], spec: ClipSpec, *, what: str
) -> tuple[Tensor, ...]:
    """The outputs of a network, one tensor per task; `ValueError` if it fails or its outputs do not match the
    data."""
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
    ". Check for dropout or random numbers that ignore self.training, a BatchNorm without running statistics, and "
    "state that persists between calls"
)


def _in_train_mode(model: nn.Module) -> str:
    """Advice on modules in train mode; empty if there are none."""
    training = [name or type(module).__name__ for name, module in model.named_modules() if module.training]
    if not training:
        return ""
    return (
        f". {len(training)} of its modules {'is' if len(training) == 1 else 'are'} in train mode, the first is "
        f"{training[0]}: call eval() in the factory"
    )


def check_logits(model: nn.Module, spec: ClipSpec, *, what: str) -> None:
    """Runs the network on one example; raises `ValueError` if its logits do not match the data."""
    run_network(model, spec.example(), spec, what=what)


def checked_logits(given: object, spec: ClipSpec, *, clips: int, what: str) -> tuple[Tensor, ...]:
    """The outputs of a network, one tensor per task; `ValueError` if they do not match the data."""
    columns = given if isinstance(given, tuple) else (given,)
    wanted = [(clips, len(column.classes)) for column in (*spec.labels, *spec.tags)]
    names = ", ".join(
        f"{column.name} ({len(column.classes)} classes)" for column in (*spec.labels, *spec.tags)
    )
    need = f"the label columns of the data, {names}, need {wanted}"
    for column in columns:
        if not isinstance(column, Tensor):
            known = ", ".join(map(str, list(column)[:5])) if isinstance(column, dict) else ""
            keys = f" with the keys {known}" if known else ""
            raise ValueError(
                f"{what} returns a {type(column).__name__}{keys}, not a tensor or a tuple of tensors; {need}"
            )
        if not column.is_floating_point():
            raise ValueError(f"{what} returns {column.dtype}, not floating-point logits; {need}")
    tensors = tuple(column for column in columns if isinstance(column, Tensor))
    shapes = [tuple(column.shape) for column in (tensors[:-1] if spec.retrieval else tensors)]
    if shapes != wanted:
        raise ValueError(f"{what} returns logits of shape {shapes}; {need}")
    return tensors


def require_finite_logits(columns: Sequence[Tensor], spec: ClipSpec, *, names: Sequence[str]) -> None:
    """Raises `ValueError` for non-finite logits with the first such clip; `names` are the names of the clips."""
    for label, column in zip(spec.labels, columns, strict=False):
        bad = (~torch.isfinite(column)).any(1).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                f"the teacher's logits for {len(bad)} of {len(column)} clips of a batch are NaN or infinite in the "
                f"column {label.name}, first for {names[bad[0]]}: check the weights of the teacher and its "
                "computation on this clip; the settings of the student's training are not the cause"
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
            why = f"{len(broken)} of its weights are NaN or infinite, the first is {broken[0]}"
        elif unfit:
            why = f"the input {unfit[0]} is NaN or infinite; check clip.mean and clip.std"
        else:
            why = "its weights and inputs are finite: check for an overflow or a division by zero in forward"
        raise ValueError(
            f"{what} returns NaN or infinity in the column {task}; {why}. The learning rate is not the cause"
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
