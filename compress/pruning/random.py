"""Random pruning: the baseline of other criteria."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from compress.pruning.criterion import Importance, LabelledClips


def random(model: nn.Module, clips: Iterable[LabelledClips]) -> Importance:
    """A uniform random number for each channel, equal in every run.

    A criterion is worth its time where it is better than this one (Li et al. 2022, "Revisiting Random Channel
    Pruning for Neural Network Compression").
    """
    generator = torch.Generator().manual_seed(0)

    def importance(group: list[tuple[object, list[int]]]) -> Tensor:
        _, indices = group[0]
        return torch.rand(len(indices), generator=generator)

    return importance
