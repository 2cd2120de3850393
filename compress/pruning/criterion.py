"""The interface of pruning criteria: functions that return the importance of the channels of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class LabelledClips:
    """A batch of training clips, for criteria that run the network."""

    inputs: tuple[Tensor, ...]
    labels: Tensor
    """Class indices, `N` x label columns."""


Importance = Callable[[Any], Tensor | None]
"""The importance of each channel of a torch-pruning group; the least important over all groups are removed first.
None for a group without prunable channels."""

PruningCriterion = Callable[[nn.Module, Iterable[LabelledClips]], Importance]
"""A row of `PRUNING_CRITERIA`: called once, with the network in eval mode on the CPU, before any channel is
removed.

It may use any number of clips and leave gradients in the weights, which are pruned with them.
"""
