"""Training criteria: modules that compute a loss and may have trainable parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from benchmarks.clips.clip_set import Augmentation
from compress.losses import cross_entropy


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Inputs of a criterion other than the outputs of the network."""

    indices: list[int]
    """Positions of the clips in their `ClipSet`."""
    augmentation: Augmentation | None
    labels: Tensor
    """Class indices, `N` x label columns."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Logits and features of a network on a batch of clips."""

    logits: tuple[Tensor, ...]
    """`N K` per label column; those of further tasks of a teacher follow."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """The requested features by name (`compress.features`)."""

    def of(self, clips: Sequence[int], *, device: torch.device) -> Outputs:
        """The outputs for some of the clips, on the device."""
        chosen = list(clips)
        return Outputs(
            logits=tuple(column[chosen].to(device) for column in self.logits),
            features={name: value[chosen].to(device) for name, value in self.features.items()},
        )


class Criterion(nn.Module):
    """The loss of a training. `fit` trains its parameters, if any, and checkpoints them with those of the
    network."""

    features: tuple[str, ...] = ()
    """Names of the features of the network that it needs (`compress.features`)."""
    notes: tuple[str, ...] = ()
    """Notes for the report."""

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
