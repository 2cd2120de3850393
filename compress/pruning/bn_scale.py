"""BatchNorm scale: removes channels with a small scale in the BatchNorm after their layer first."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from compress.pruning.criterion import Importance, LabelledClips


def bn_scale(model: nn.Module, clips: Iterable[LabelledClips]) -> Importance:
    """The absolute scale (gamma) of a channel's BatchNorm; groups without BatchNorm are not pruned.

    Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming", section 3. The scales
    separate after training with `sparse_training`.
    """
    import torch_pruning as tp

    importance: Importance = tp.importance.BNScaleImportance()
    return importance
