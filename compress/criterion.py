"""What a training minimises: a module that gives a loss, and may learn something itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmarks.clips.clip_set import Augmentation
from compress.losses import cross_entropy


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a criterion may use beside the answers."""

    indices: list[int]
    """Positions of the clips in their `ClipSet`."""
    augmentation: Augmentation | None
    labels: Tensor
    """Class indices, `N` x label columns."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a network says to clips."""

    logits: tuple[Tensor, ...]
    """`N K` per label column; a teacher's answers to further tasks follow."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """By name (`compress.features`), as far as they were asked for."""

    def of(self, clips: Sequence[int], *, device: torch.device) -> Outputs:
        """The answers to some of the clips, on the device."""
        chosen = list(clips)
        return Outputs(
            logits=tuple(column[chosen].to(device) for column in self.logits),
            features={name: value[chosen].to(device) for name, value in self.features.items()},
        )


class Criterion(nn.Module):
    """The loss of a training. `fit` trains its parameters, if it has any, and keeps them beside the network's."""

    features: tuple[str, ...] = ()
    """Features of the network that it has to be given, by name (`compress.features`)."""

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The loss of a batch: a scalar."""
        raise NotImplementedError


class LabelCriterion(Criterion):
    """Cross-entropy with the labels, summed over the label columns."""

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The loss of a batch: a scalar."""
        losses = [
            cross_entropy(column, batch.labels[:, k], label_smoothing=self.label_smoothing)
            for k, column in enumerate(outputs.logits)
        ]
        return torch.stack(losses).sum()
