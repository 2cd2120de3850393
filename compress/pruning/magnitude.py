"""Magnitude pruning: removes channels with small weights first."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from compress.pruning.criterion import Importance, LabelledClips


def magnitude(model: nn.Module, clips: Iterable[LabelledClips]) -> Importance:
    """The Euclidean norm of a channel's weights, over all layers of its group.

    Fang et al. 2023, "DepGraph: Towards Any Structural Pruning", section 3.3.
    """
    import torch_pruning as tp

    importance: Importance = tp.importance.GroupMagnitudeImportance(p=2)
    return importance
