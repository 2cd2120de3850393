"""LAMP: magnitudes that can be compared between layers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from compress.pruning.criterion import Importance, LabelledClips


def lamp(model: nn.Module, clips: Iterable[LabelledClips]) -> Importance:
    """The squared norm of a channel, divided by the sum of those of all channels of its group that are at least as
    large.

    The last channel of every group has the score 1, so that no layer vanishes. Lee et al. 2021, "Layer-Adaptive
    Sparsity for the Magnitude-based Pruning", equation 2, with channels in place of weights.
    """
    import torch_pruning as tp

    importance: Importance = tp.importance.LAMPImportance(p=2)
    return importance
