"""First-order Taylor expansion: removes channels whose removal changes the loss least, to first order."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from compress.pruning.criterion import Importance, LabelledClips
from compress.pruning.gradients import leave_mean_gradients


def taylor(model: nn.Module, clips: Iterable[LabelledClips]) -> Importance:
    """The sum of |weight * gradient of the loss| of a channel's weights, over all layers of its group.

    Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", equation 8, with absolute values; the
    loss is the cross-entropy of the labels.
    """
    import torch_pruning as tp

    leave_mean_gradients(model, clips)
    importance: Importance = tp.importance.GroupTaylorImportance()
    return importance
