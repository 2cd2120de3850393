"""Gradients of the labels' cross-entropy, for criteria that estimate the change of the loss."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor, nn

from compress.losses import cross_entropy
from compress.pruning.criterion import LabelledClips
from models.spec import as_tuple

BATCHES = 16
"""Number of batches of training clips; the order of channels changes little with more."""


def loss_of(model: nn.Module, inputs: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Cross-entropy summed over label columns, mean over clips."""
    losses = [
        cross_entropy(column, labels[:, k])
        for k, column in enumerate(as_tuple(model(*inputs))[: labels.shape[1]])
    ]
    return torch.stack(losses).sum()


def leave_mean_gradients(model: nn.Module, clips: Iterable[LabelledClips]) -> None:
    """Leaves the mean gradient over clips in every parameter; zero where the loss does not depend on it."""
    model.zero_grad(set_to_none=True)
    count = 0
    with torch.enable_grad():
        for batch in _first(clips):
            (loss_of(model, batch.inputs, batch.labels) * len(batch.labels)).backward()
            count += len(batch.labels)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad / count


def leave_mean_squared_gradients(model: nn.Module, clips: Iterable[LabelledClips]) -> None:
    """Leaves the mean over clips of each squared gradient in every parameter: the diagonal of the empirical Fisher
    matrix."""
    found = {parameter: torch.zeros_like(parameter) for parameter in model.parameters()}
    count = 0
    with torch.enable_grad():
        for batch in _first(clips):
            for k in range(len(batch.labels)):
                model.zero_grad(set_to_none=True)
                one = tuple(tensor[k : k + 1] for tensor in batch.inputs)
                loss_of(model, one, batch.labels[k : k + 1]).backward()
                for parameter, total in found.items():
                    if parameter.grad is not None:
                        total += parameter.grad.square()
                count += 1
    for parameter, total in found.items():
        parameter.grad = total / count


def _first(clips: Iterable[LabelledClips]) -> list[LabelledClips]:
    """The first batches; `ValueError` if there are none."""
    found = list(islice(clips, BATCHES))
    if not found:
        raise ValueError("the pruning criterion needs training clips, but there are none")
    return found
