"""Logits and accuracy of a network on all clips of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from benchmarks.clips.clip_set import Augmentation, ClipSet
from benchmarks.top1 import Accuracy, accuracy_of
from compress.command.sentence import in_a_sentence
from compress.command.user_code import user_code
from compress.training.batches import placed
from models.spec import ClipSpec, as_tuple

T = TypeVar("T")


def logits_of(
    model: nn.Module,
    clips: ClipSet,
    *,
    batch: int,
    device: torch.device,
    augmentation: Augmentation | None = None,
    report: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, ...]:
    """Logits `N K` per label column, on the CPU; `model` must be in eval mode."""
    parts = [
        columns
        for _, columns in logits_by_batch(
            model, clips, batch=batch, device=device, augmentation=augmentation, report=report
        )
    ]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def logits_by_batch(
    model: nn.Module,
    clips: ClipSet,
    *,
    batch: int,
    device: torch.device,
    augmentation: Augmentation | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[list[int], tuple[Tensor, ...]]]:
    """Yields the indices and logits of successive batches, which are on the CPU; `model` must be in eval mode."""
    if next(model.parameters(), torch.empty(0)).device != device:
        model.to(device)
    if report:
        report(0, len(clips))
    for start in range(0, len(clips), batch):
        indices = list(range(start, min(start + batch, len(clips))))
        # Captured graphs take only full batches: the last one is padded with a clip whose logits are dropped.
        whole = indices + [start] * (batch - len(indices))
        inputs = placed(clips.batch(whole, augmentation=augmentation), device)
        with torch.no_grad():
            columns = _columns(model, inputs, batch)
        yield indices, tuple(column[: len(indices)].cpu() for column in columns)
        if report:
            report(indices[-1] + 1, len(clips))


def _columns(model: nn.Module, inputs: tuple[Tensor, ...], batch: int) -> tuple[Tensor, ...]:
    """The logits of a batch of a network, which may be user code. Raises ValueError for invalid outputs."""
    name = type(model).__name__
    with user_code(f"forward of {name} on {batch} clips", timed=False):
        try:
            columns = as_tuple(model(*inputs))
        except (RuntimeError, ValueError, MemoryError):
            raise
        except Exception as error:
            raise ValueError(f"forward of {name} on {batch} clips failed: {in_a_sentence(error)}") from error
    for column in columns:
        if not isinstance(column, Tensor):
            raise ValueError(f"{name} returns {type(column).__name__}; it must return tensors of logits")
        if column.ndim == 0 or len(column) != batch:
            raise ValueError(
                f"{name} returns logits of shape {list(column.shape)} for {batch} clips; it must return "
                "one row per clip"
            )
    return columns


def accuracy(logits: tuple[Tensor, ...], clips: ClipSet) -> list[Accuracy]:
    """Accuracy of each label column; outputs of further tasks follow and are ignored."""
    return [accuracy_of(column, labels) for column, labels in zip(logits, clips.labels.T, strict=False)]


def per_label(values: list[T], spec: ClipSpec, *, data: ClipSpec) -> T | dict[str, T]:
    """The values of a network for its label columns: by name if the data has several."""
    if len(data.labels) == 1:
        return values[0]
    return {label.name: value for label, value in zip(spec.labels, values, strict=True)}


def by_column(found: list[Accuracy], spec: ClipSpec) -> dict[str, int]:
    """Number of correctly classified clips, by label column."""
    return {label.name: one.correct for label, one in zip(spec.labels, found, strict=False)}
