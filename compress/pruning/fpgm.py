"""Filter pruning via the geometric median: removes channels that others can replace first."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from compress.pruning.criterion import Importance, LabelledClips


def fpgm(model: nn.Module, clips: Iterable[LabelledClips]) -> Importance:
    """The sum of the distances between a channel's squared weights and those of all channels of its group.

    He et al. 2019, "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks Acceleration",
    section 3.3, in the form of torch-pruning, which squares the weights first.
    """
    import torch_pruning as tp

    importance: Importance = tp.importance.FPGMImportance(p=2)
    return importance
