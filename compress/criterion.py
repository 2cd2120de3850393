"""Training criteria: modules that compute a loss and may have trainable parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from benchmarks.clips.clip_set import Augmentation
from benchmarks.clips.mixing import Mix
from compress.losses import cross_entropy


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Inputs of a criterion other than the outputs of the network."""

    indices: list[int]
    """Positions in their `ClipSet` of the clips whose labels and teacher outputs are the targets."""
    augmentation: Augmentation | None
    labels: Tensor
    """Class indices, `N` x label columns."""
    mix: Mix | None = None
    """How the clips that the network gets are mixed with each other; None for single clips."""
    shown: list[int] | None = None
    """Positions of the clips that the network gets, before they are mixed; None for `indices`."""

    @property
    def clips(self) -> list[int]:
        """Positions of the clips that the network gets; with `mix`, before they are mixed."""
        return self.indices if self.shown is None else self.shown

    def of_partners(self, mix: Mix) -> Batch:
        """The same inputs, with the labels and the teacher's outputs of the clips that are mixed in."""
        return replace(
            self,
            indices=[self.indices[partner] for partner in mix.partners],
            labels=self.labels[list(mix.partners)],
            shown=self.clips,
        )


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

    def parts(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """The losses of a batch with the labels and with a teacher: scalars, the second 0 without a teacher."""
        raise NotImplementedError

    def forward(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The loss of a batch: a scalar, the sum of its parts."""
        task, distillation = self.parts(outputs, batch)
        return task + distillation

    def parts_of_mixed(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """The two parts of the loss of a batch whose clips may be mixed.

        Those of a mixed batch are the means of the losses with both targets, weighted with their shares (Zhang et
        al. 2018, "mixup", section 2; Yun et al. 2019, "CutMix", equation 1).
        """
        if batch.mix is None:
            return self.parts(outputs, batch)
        share = batch.mix.share
        own, other = self.parts(outputs, batch), self.parts(outputs, batch.of_partners(batch.mix))
        return share * own[0] + (1 - share) * other[0], share * own[1] + (1 - share) * other[1]

    def of_mixed(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The loss of a batch whose clips may be mixed: a scalar, the sum of its parts."""
        task, distillation = self.parts_of_mixed(outputs, batch)
        return task + distillation


class LabelCriterion(Criterion):
    """Cross-entropy with the labels, summed over the label columns."""

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def parts(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and 0."""
        losses = [
            cross_entropy(column, batch.labels[:, k], label_smoothing=self.label_smoothing)
            for k, column in enumerate(outputs.logits)
        ]
        task = torch.stack(losses).sum()
        return task, torch.zeros_like(task)
