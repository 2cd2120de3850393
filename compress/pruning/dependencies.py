"""Finds the groups of channels of a network that can only be removed together.

Groups come from the dependency graph of torch-pruning: Fang et al. 2023, "DepGraph: Towards Any Structural
Pruning". Layers that it does not follow are in `compress.pruning.composite`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from compress.pruning.composite import head_layers, left_whole, matrices, rules, stand_ins
from compress.pruning.groups import Edit, Member, PruningGroup, without
from compress.pruning.matrices import Matrix
from compress.pruning.recurrent import (
    cell_matrices,
    inner_channels,
    parts_of,
    projected_layers,
    remove_cells,
    silence,
    unit_count,
)
from compress.pruning.taken_apart import map_channels, named_in
from models.heads import output_layers
from models.spec import ClipSpec, as_tuple

CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)


def kept_layers(model: nn.Module, spec: ClipSpec) -> list[Any]:
    """Output layers, and the layers and parameters that methods `layers_left_whole()` of its modules name."""
    named = (one for module in model.modules() for one in getattr(module, "layers_left_whole", list)())
    return [*output_layers(model, spec.example()), *named]


def whole_recurrent_layers(model: nn.Module, groups: Sequence[PruningGroup]) -> list[str]:
    """Names of the recurrent layers whose units none of the groups has."""
    pruned = {edit.name for group in groups for edit in group.edits if edit.computes}
    return [
        name for name, layer in model.named_modules() if isinstance(layer, nn.RNNBase) and name not in pruned
    ]


def find_groups(model: nn.Module, spec: ClipSpec) -> list[PruningGroup]:
    """The groups of a network on the CPU, without those of `kept_layers`.

    Reads gradients that a criterion has left. Raises `ValueError` if the network cannot be traced.
    """
    import torch_pruning as tp

    whole = [*left_whole(model, spec.example()), *kept_layers(model, spec)]
    ignored = [module for layer in whole if isinstance(layer, nn.Module) for module in layer.modules()]
    with warnings.catch_warnings(), stand_ins(model) as apart, torch.enable_grad():
        warnings.simplefilter("ignore")
        with apart:
            model(*spec.example())  # finds what is taken apart
        apart.restart()
        with named_in(model, apart.modules), apart:
            graph = tp.DependencyGraph().build_dependency(
                model,
                spec.example(),
                output_transform=lambda logits: sum(column.sum() for column in as_tuple(logits)),
                customized_pruners=rules(model),
                ignored_params=[layer for layer in whole if isinstance(layer, nn.Parameter)],
                verbose=False,
            )
        map_channels(graph, apart.modules)
        roots = [*CONVOLUTIONS, nn.Linear, nn.RNNBase, nn.Embedding]
        found = [
            _group(graph, members, model)
            for members in graph.get_all_groups(ignored_layers=ignored, root_module_types=roots)
        ]
    taken = bool(apart.modules)
    followed = [group for group in found if _units_are_followed(model, group, spec, taken=taken)]
    return [*followed, *_head_groups(model, ignored), *_cell_groups(model, ignored)]


def _group(graph: Any, items: Any, model: nn.Module) -> PruningGroup:
    names = {id(module): name for name, module in model.named_modules()}
    parameters = {id(parameter): name for name, parameter in model.named_parameters()}
    edits: list[Edit] = []
    members: list[Member] = []
    kind: list[str] = []
    together = 1
    size: int | None = None
    visible = len(items[0].idxs)
    recurrent = [item.dep.target.module for item in items if _is_recurrent_output(graph, item.dep)]
    hidden = sum(map(inner_channels, recurrent))
    numbered = 0
    for position in range(len(items)):
        dep, layer = items[position].dep, items[position].dep.target.module
        pairs = sorted(zip(items[position].idxs, items[position].root_idxs, strict=True))
        indices, roots = [one for one, _ in pairs], [hidden + root for _, root in pairs]
        out = graph.is_out_channel_pruning_fn(dep.handler)
        kind.append(f"{type(layer).__name__} {'out' if out else 'in'}")
        if id(layer) in parameters:
            name, handler = parameters[id(layer)], None
        elif id(layer) in names:
            name, handler = names[id(layer)], dep.handler
            together = max(together, _together(graph, layer, out=out))
            if _is_recurrent_output(graph, dep):
                inner = inner_channels(layer)
                indices = [*range(inner), *(inner + index for index in indices)]
                roots = [*range(numbered, numbered + inner), *roots]
                numbered += inner
                size = unit_count(layer) if parts_of(layer) > 1 else size
            members += _members(dep, layer, indices, roots, out=out)
        else:
            continue  # an operation without weights
        edits.append(
            Edit(
                name=name,
                handler=handler,
                axis=dep.target.pruning_dim,
                indices=tuple(indices),
                roots=tuple(roots),
                computes=out,
            )
        )
    channels = hidden + visible
    if size is None or together > 1:
        parts, size = 1, visible // together
    else:
        parts = channels // size
    return PruningGroup(
        name=edits[0].name,
        kind=", ".join(kind),
        units=tuple(tuple(range(unit, channels, size)) for unit in range(size)),
        edits=tuple(edits),
        members=members,
        parts=parts,
    )


def _is_recurrent_output(graph: Any, dep: Any) -> bool:
    return isinstance(dep.target.module, nn.RNNBase) and graph.is_out_channel_pruning_fn(dep.handler)


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
    found = matrices(layer, indices, roots, out=out)
    return [_member(one) for one in found] if found else [Member(dep, indices, roots)]


def _member(matrix: Matrix) -> Member:
    import torch_pruning as tp

    handler = tp.prune_linear_out_channels if matrix.out else tp.prune_linear_in_channels
    target = SimpleNamespace(module=matrix.linear)
    dep = SimpleNamespace(layer=matrix.linear, pruning_fn=handler, handler=handler, target=target)
    return Member(dep, matrix.indices, matrix.roots)


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
        linears = (
            ("query_key_value", layer.query_key_value, rows, True),
            ("project", layer.project, inner, False),
        )
        for child, linear, indices, out in linears:
            handler = tp.prune_linear_out_channels if out else tp.prune_linear_in_channels
            roots = [index % len(inner) for index in indices]
            edits.append(
                Edit(
                    name=f"{name}.{child}",
                    handler=handler,
                    axis=-1,
                    indices=tuple(indices),
                    roots=tuple(roots),
                    computes=out,
                )
            )
            members.append(_member(Matrix(linear, indices, roots, out)))
        yield PruningGroup(
            name=f"{name} heads", kind="heads", units=units, edits=tuple(edits), members=members
        )


def _cell_groups(model: nn.Module, ignored: Sequence[nn.Module]) -> Iterator[PruningGroup]:
    """One group for each LSTM with projections, whose units are its cells."""
    for name, layer in projected_layers(model):
        if layer in ignored:
            continue
        cells, parts = layer.hidden_size, parts_of(layer)
        channels = tuple(range(cells * parts))
        edit = Edit(name=name, handler=remove_cells, axis=-1, indices=channels, roots=channels, computes=True)
        yield PruningGroup(
            name=f"{name} cells",
            kind="cells",
            units=tuple(channels[cell::cells] for cell in range(cells)),
            edits=(edit,),
            members=[_member(one) for one in cell_matrices(layer)],
            parts=parts,
            least=layer.proj_size + 1,  # PyTorch requires more cells than projections
        )


def _units_are_followed(model: nn.Module, group: PruningGroup, spec: ClipSpec, *, taken: bool) -> bool:
    """Whether units of the recurrent layers of a group can be removed.

    The dependency graph has the channels of both directions on one axis, and a network may take channels apart in a
    way that it does not follow, or by fixed sizes: silent units of a bidirectional layer, or of any recurrent layer
    if channels are `taken` apart, must be removable without effect. True for groups without such layers.
    """
    computing = [edit for edit in group.edits if edit.computes]
    layers = [layer for edit in computing if isinstance(layer := _layer(model, edit), nn.RNNBase)]
    visible = group.channels - sum(map(inner_channels, layers))
    if any(parts_of(layer) > 1 and visible % unit_count(layer) for layer in layers):
        return False
    if not layers or not (taken or any(layer.bidirectional for layer in layers)):
        return True
    size = group.channels // group.parts
    if len(computing) > 1 or group.parts != parts_of(layers[0]) or size == 1:
        return False
    unit = tuple(size * part + part % size for part in range(group.parts))
    silent = copy.deepcopy(model)
    silent_layer = silent.get_submodule(computing[0].name)
    assert isinstance(silent_layer, nn.RNNBase)
    silence(silent_layer, unit)
    example = spec.example()
    with torch.no_grad():
        expected = as_tuple(silent(*example))
        try:
            given = as_tuple(without(model, {replace(group, units=(unit,)): [0]})(*example))
        except (RuntimeError, IndexError):
            return False
    return all(
        torch.allclose(one, two, rtol=1e-3, atol=1e-5) for one, two in zip(given, expected, strict=True)
    )


def _layer(model: nn.Module, edit: Edit) -> nn.Module | None:
    """The layer of an edit, None for a parameter."""
    return None if edit.handler is None else model.get_submodule(edit.name)
