"""What a pruning criterion is: a function of a network that says how important the channels of a group are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class LabelledClips:
    """A batch of training clips, for criteria that look at what a network makes of clips."""

    inputs: tuple[Tensor, ...]
    labels: Tensor
    """Class indices, `N` x label columns."""


Importance = Callable[[Any], Tensor | None]
"""How important each channel of a group of torch-pruning's is: the least important leave first, over all groups.

None for a group that has no channels to lose."""

PruningCriterion = Callable[[nn.Module, Iterable[LabelledClips]], Importance]
"""A row of `PRUNING_CRITERIA`: called once, with the network in eval mode on the CPU, before any channel has left.

It may take as many of the clips as it needs, and leave gradients in the weights, which are cut with them.
"""
