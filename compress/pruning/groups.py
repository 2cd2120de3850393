"""The groups of channels of a network that can only be removed together.

Groups come from the dependency graph of torch-pruning: Fang et al. 2023, "DepGraph: Towards Any Structural
Pruning". Layers that it does not follow are in `compress.pruning.composite`.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from compress.pruning.composite import head_layers, left_whole, parts, rules, stand_ins
from models.heads import output_layers
from models.spec import ClipSpec, as_tuple

CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What removing channels of a group means for one layer or parameter of the network."""

    name: str
    handler: Callable[[nn.Module, list[int]], Any] | None
    """Removes channels of a layer; None for a parameter."""
    axis: int
    """Axis of a parameter."""
    indices: tuple[int, ...]
    roots: tuple[int, ...]
    """The channel of the group to which each index belongs."""

    @property
    def place(self) -> tuple[Any, ...]:
        """The axis of a layer or parameter; groups may share it, behind a concatenation."""
        return (self.name, self.handler, self.axis)

    def of(self, channels: set[int]) -> list[int]:
        """The indices of these channels of the group."""
        return [index for index, root in zip(self.indices, self.roots, strict=True) if root in channels]


@dataclass(frozen=True)
class Member:
    """A layer of a group in the form that the criteria of torch-pruning read: a pair with `root_idxs`."""

    dep: Any
    idxs: list[int]
    root_idxs: list[int]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.dep, self.idxs))


@dataclass(frozen=True, kw_only=True, eq=False)
class PruningGroup:
    """Channels of one axis of the network, in all layers that share it."""

    name: str
    """The layer that computes the channels."""
    kind: str
    """Equal for groups of layers of equal types in equal order, whose importance can be compared (isomorphic)."""
    units: tuple[tuple[int, ...], ...]
    """Channels that can only be removed together: one, one of every group of a grouped layer, or all of a head."""
    edits: tuple[Edit, ...]
    members: list[Member] = field(repr=False)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return sum(map(len, self.units))

    def importance(self, criterion: Callable[[Any], Tensor | None]) -> Tensor | None:
        """The importance of each unit, the mean over its channels; None if the criterion has none for the group."""
        found = criterion(self.members)
        if found is None:
            return None
        values = torch.nan_to_num(found.detach().float(), nan=0.0)
        return torch.stack([values[list(unit)].mean() for unit in self.units])

    def step(self, round_to: int) -> int:
        """Number of units whose channels are a multiple of `round_to`."""
        width = len(self.units[0])
        return round_to // math.gcd(round_to, width)


def kept_layers(model: nn.Module, spec: ClipSpec) -> list[Any]:
    """Output layers, and the layers and parameters that methods `layers_left_whole()` of its modules name."""
    named = (one for module in model.modules() for one in getattr(module, "layers_left_whole", list)())
    return [*output_layers(model, spec.example()), *named]


def find_groups(model: nn.Module, spec: ClipSpec) -> list[PruningGroup]:
    """The groups of a network on the CPU, without those of `kept_layers`.

    Reads gradients that a criterion has left. Raises `ValueError` if the network cannot be traced.
    """
    import torch_pruning as tp

    whole = [*left_whole(model), *kept_layers(model, spec)]
    ignored = [module for layer in whole if isinstance(layer, nn.Module) for module in layer.modules()]
    with warnings.catch_warnings(), stand_ins(model), torch.enable_grad():
        warnings.simplefilter("ignore")
        graph = tp.DependencyGraph().build_dependency(
            model,
            spec.example(),
            output_transform=lambda logits: sum(column.sum() for column in as_tuple(logits)),
            customized_pruners=rules(model),
            ignored_params=[layer for layer in whole if isinstance(layer, nn.Parameter)],
            verbose=False,
        )
        roots = [*CONVOLUTIONS, nn.Linear, nn.RNNBase, nn.Embedding]
        found = [
            _group(graph, members, model)
            for members in graph.get_all_groups(ignored_layers=ignored, root_module_types=roots)
        ]
    return [*found, *_head_groups(model, ignored)]


def without(model: nn.Module, removed: Mapping[PruningGroup, Sequence[int]]) -> nn.Module:
    """A copy of the network without the given units of each group, by number."""
    indices: dict[tuple[Any, ...], list[int]] = {}
    for group, units in removed.items():
        channels = {channel for unit in units for channel in group.units[unit]}
        for edit in group.edits:
            indices.setdefault(edit.place, []).extend(edit.of(channels))
    pruned = copy.deepcopy(model)
    for (name, handler, axis), gone in indices.items():
        if not gone:
            continue
        if handler is not None:
            handler(pruned.get_submodule(name), gone)
            continue
        owner_name, _, parameter = name.rpartition(".")
        owner = pruned.get_submodule(owner_name)
        old = getattr(owner, parameter)
        kept = torch.tensor([index for index in range(old.shape[axis]) if index not in set(gone)])
        setattr(owner, parameter, nn.Parameter(old.detach().index_select(axis, kept)))
    return pruned


def _group(graph: Any, items: Any, model: nn.Module) -> PruningGroup:
    names = {id(module): name for name, module in model.named_modules()}
    parameters = {id(parameter): name for name, parameter in model.named_parameters()}
    edits: list[Edit] = []
    members: list[Member] = []
    kind: list[str] = []
    together = 1
    for position in range(len(items)):
        dep, layer = items[position].dep, items[position].dep.target.module
        pairs = sorted(zip(items[position].idxs, items[position].root_idxs, strict=True))
        indices, roots = [one for one, _ in pairs], [root for _, root in pairs]
        out = graph.is_out_channel_pruning_fn(dep.handler)
        kind.append(f"{type(layer).__name__} {'out' if out else 'in'}")
        if id(layer) in parameters:
            name, handler = parameters[id(layer)], None
        elif id(layer) in names:
            name, handler = names[id(layer)], dep.handler
            together = max(together, _together(graph, layer, out=out))
            members += _members(dep, layer, indices, roots, out=out)
        else:
            continue  # an operation without weights
        axis = dep.target.pruning_dim
        edits.append(Edit(name=name, handler=handler, axis=axis, indices=tuple(indices), roots=tuple(roots)))
    channels = len(items[0].idxs)
    size = channels // together
    units = tuple(tuple(unit + size * part for part in range(together)) for unit in range(size))
    return PruningGroup(
        name=edits[0].name, kind=", ".join(kind), units=units, edits=tuple(edits), members=members
    )


def _together(graph: Any, layer: nn.Module, *, out: bool) -> int:
    """Number of equal parts of the channels of a layer that must remain equally large."""
    if isinstance(layer, nn.MultiheadAttention):
        return layer.num_heads
    if isinstance(layer, CONVOLUTIONS) and layer.groups == layer.out_channels:
        return 1
    rule = graph.get_pruner_of_module(layer)
    return int(rule.get_out_channel_groups(layer) if out else rule.get_in_channel_groups(layer))


def _members(dep: Any, layer: nn.Module, indices: list[int], roots: list[int], *, out: bool) -> list[Member]:
    """The layer as criteria read it: composite layers by their matrices."""
    matrices = parts(layer, indices, out=out)
    if not matrices:
        return [Member(dep, indices, roots)]
    return [_member(linear, own, roots, out=own_out) for linear, own, own_out in matrices]


def _member(linear: nn.Module, indices: list[int], roots: list[int], *, out: bool) -> Member:
    import torch_pruning as tp

    handler = tp.prune_linear_out_channels if out else tp.prune_linear_in_channels
    target = SimpleNamespace(module=linear)
    dep = SimpleNamespace(layer=linear, pruning_fn=handler, handler=handler, target=target)
    return Member(dep, indices, roots)


def _head_groups(model: nn.Module, ignored: Sequence[nn.Module]) -> Iterator[PruningGroup]:
    """One group for each attention layer, whose units are its heads."""
    import torch_pruning as tp

    for name, layer in head_layers(model):
        if layer in ignored:
            continue
        inner, features = list(range(layer.project.in_features)), layer.head_features
        units = tuple(tuple(inner[start : start + features]) for start in range(0, len(inner), features))
        rows = [part * len(inner) + index for part in range(3) for index in inner]
        edits, members = [], []
        for child, indices, out in (("query_key_value", rows, True), ("project", inner, False)):
            handler = tp.prune_linear_out_channels if out else tp.prune_linear_in_channels
            roots = [index % len(inner) for index in indices]
            edits.append(
                Edit(
                    name=f"{name}.{child}",
                    handler=handler,
                    axis=-1,
                    indices=tuple(indices),
                    roots=tuple(roots),
                )
            )
            members.append(_member(layer.get_submodule(child), indices, roots, out=out))
        yield PruningGroup(
            name=f"{name} heads", kind="heads", units=units, edits=tuple(edits), members=members
        )
