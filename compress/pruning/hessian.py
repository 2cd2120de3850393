"""Second-order Taylor expansion: removes channels whose removal changes the loss least at its minimum."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from compress.pruning.criterion import Importance, LabelledClips
from compress.pruning.gradients import leave_mean_squared_gradients


def hessian(model: nn.Module, clips: Iterable[LabelledClips]) -> Importance:
    """The sum of weight squared times the second derivative of the loss, over all layers of a channel's group.

    LeCun et al. 1989, "Optimal Brain Damage", equation 5. The diagonal of the Hessian is approximated by that of
    the empirical Fisher matrix, the mean over clips of squared gradients (Theis et al. 2018, "Faster gaze
    prediction with dense networks and Fisher pruning", section 2.1). The loss is the cross-entropy of the labels.
    """
    import torch_pruning as tp

    leave_mean_squared_gradients(model, clips)
    importance: Importance = tp.importance.GroupHessianImportance()
    return importance
