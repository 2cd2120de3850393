"""One cut: removes the channels that matter least until a target is met."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from compress.pruning import PRUNING_CRITERIA, TARGETS
from compress.pruning.config import PruneConfig
from compress.pruning.criterion import LabelledClips
from compress.pruning.dependencies import find_groups, whole_recurrent_layers
from compress.pruning.order import Limits
from compress.pruning.search import TOLERANCE, OutOfReach
from compress.pruning.target import Ranking, Setting, Target
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A network after a cut, its cost, and the number of units of each group before all cuts."""

    model: nn.Module
    cost: float
    originally: dict[str, int]
    notes: tuple[str, ...]


def cut_channels(
    model: nn.Module,
    spec: ClipSpec,
    *,
    config: PruneConfig,
    clips: Iterable[LabelledClips] = (),
    target: Target | None = None,
    goal: float | None = None,
    originally: dict[str, int] | None = None,
) -> Cut:
    """A copy of `model` on the CPU without the channels that matter least, whose cost is at most the target.

    `clips` are for criteria that run the network. Output layers are not pruned, and neither are layers that a
    module of the network names in a method `layers_left_whole()`. `goal` is the target of this cut if there are
    several, and `originally` the number of units of each group before all cuts. Raises `ValueError` if the target
    is out of reach.
    """
    model = copy.deepcopy(model).cpu().eval()
    target = target or TARGETS[config.target](
        model, Setting(spec=spec, scheme=config.scheme, runtime=config.runtime)
    )
    goal = config.goal(target.original) if goal is None else goal
    importance = PRUNING_CRITERIA[config.criterion](model, clips)
    groups = [group.paired(importance) for group in find_groups(model, spec)]
    originally = originally or {group.name: len(group.units) for group in groups}
    importances = {group: values for group in groups if (values := group.importance(importance)) is not None}
    if not importances:
        raise ValueError(
            f"prune: the criterion {config.criterion} has no importance for any of the {len(groups)} groups of "
            "channels of this network; choose another one, such as magnitude"
        )
    model.zero_grad(set_to_none=True)
    limits = Limits(
        round_to=config.round_to, max_pruning_ratio=config.max_pruning_ratio, originally=originally
    )
    ranking = Ranking(
        importances=importances, limits=limits, scope=config.scope, isomorphic=config.isomorphic
    )
    try:
        found = target.cut(model, ranking, goal=goal)
        found.model(*spec.example())
    except OutOfReach as error:
        raise ValueError(
            f"prune: {error.least / target.original:.0%} of the {target.quantity} is the minimum that round_to "
            f"{config.round_to} and max_pruning_ratio {config.max_pruning_ratio} allow, the target is "
            f"{goal / target.original:.0%}; raise `{config.target}` or `max_pruning_ratio`, or lower `round_to`"
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"prune: without some of its channels the network does not run: {error}; name layers that must keep "
            "their channels in a method `layers_left_whole()` of the network"
        ) from error
    missed = (goal - found.cost) / target.original
    notes = []
    if whole := whole_recurrent_layers(model, groups):
        notes.append(
            f"units are not removed from {', '.join(whole)}: these layers compute outputs, or the network reads "
            "states or directions of them in a way that cannot be followed"
        )
    if len(importances) < len(groups):
        others = [group.name for group in groups if group not in importances]
        notes.append(
            f"not pruned, because {config.criterion} has no importance for them: {', '.join(others)}"
        )
    if found.round_to < config.round_to:
        notes.append(
            f"channels of some layers are multiples of {found.round_to}, not of {config.round_to}: the target "
            "would have been missed by more than two points"
        )
    if missed > TOLERANCE:
        notes.append(
            f"{100 * missed:.1f} points less than asked: no choice of channels that was tried comes closer"
        )
    return Cut(model=found.model, cost=found.cost, originally=originally, notes=tuple(notes))
