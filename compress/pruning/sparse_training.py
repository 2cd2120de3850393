"""Training before a cut that drives whole channels towards zero."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from compress.criterion import Batch, Criterion, Outputs
from compress.pruning.groups import Member, PruningGroup
from models.layers import BatchNorm

ALPHA = 4.0
"""The largest factor of a channel's penalty is two to the power of this."""


class GroupSparsity(Criterion):
    """A training loss plus a penalty on the squared norms of channels, stronger for weaker ones.

    Fang et al. 2023, "DepGraph: Towards Any Structural Pruning", section 3.3: the norm of a channel includes its
    weights in all layers of its group, and its factor is 2^(4 (max - norm) / (max - min)) over the group. The
    factors are constants of the gradient.
    """

    def __init__(self, inner: Criterion, groups: Sequence[PruningGroup], *, weight: float) -> None:
        super().__init__()
        self.inner = inner
        self.features = inner.features
        self._groups = list(groups)
        self._weight = weight

    def parts(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """The losses of a batch with the labels, penalty included, and with a teacher: scalars."""
        task, distillation = self.inner.parts(outputs, batch)
        for group in self._groups:
            task = task + self._weight * penalty(group).to(task.device)
        return task, distillation


def penalty(group: PruningGroup) -> Tensor:
    """Half the sum of the squared norms of the channels of a group, each times its factor."""
    energy = channel_energy(group)
    norms = energy.detach().sqrt()
    range_ = norms.max() - norms.min()
    factors = 2 ** (ALPHA * (norms.max() - norms) / range_) if range_ > 0 else torch.ones_like(norms)
    return 0.5 * (factors * energy).sum()


def channel_energy(group: PruningGroup) -> Tensor:
    """The squared norm of each channel of a group over all its convolutions, linear layers and BatchNorms."""
    total = torch.zeros(group.channels)
    for member in group.members:
        rows = _rows(member)
        if rows is not None:
            roots = torch.tensor(member.root_idxs, device=rows.device)
            total = total.to(rows.device).index_add(0, roots, rows.square().flatten(1).sum(1))
    return total


def _rows(member: Member) -> Tensor | None:
    """The weights of every index of a layer, one row each; None for layers without weights of their own there."""
    import torch_pruning as tp

    layer, handler = member.dep.target.module, member.dep.handler
    if isinstance(layer, BatchNorm):
        return layer.weight[member.idxs].unsqueeze(1) if layer.affine else None
    if handler in (tp.prune_linear_out_channels, tp.prune_conv_out_channels) and not _transposed(layer):
        return layer.weight[member.idxs]
    plain = not _transposed(layer) and getattr(layer, "groups", 1) == 1
    if handler in (tp.prune_linear_in_channels, tp.prune_conv_in_channels) and plain:
        return layer.weight.transpose(0, 1)[member.idxs]
    return None


def _transposed(layer: nn.Module) -> bool:
    return bool(getattr(layer, "transposed", False))
