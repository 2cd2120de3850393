"""Mixed precision: some layers of the int8 reference stay in float.

    keep_float(prepared, ["blocks.0.project"])       # after calibration or training, before convert()

A value is rounded where an int8 layer computed it or reads it, so a layer in float reads the rounded values of
int8 layers, and its own result is rounded for the int8 layers that read it, and for no other. A value that is moved
before several layers read it is rounded for all of them if one is int8. Operators without weights whose inputs are
all computed by layers in float are float too: an int8 sum between two float layers would round without need.
Ranges are those of the graph in which every layer is int8, so each layer keeps its scale.
"""

from __future__ import annotations

from collections.abc import Collection
from operator import attrgetter

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from export.quantize.layer_names import unknown_layer
from export.quantize.layers import is_weight, layers_of, makers, moves, name_of, observers, readers
from export.quantize.quantizer import ANNOTATION, PASSES_ON, WEIGHTED

Edge = tuple[fx.Node, fx.Node]
"""An observer and a node that reads the value that it rounds."""


def keep_float(prepared: fx.GraphModule, names: Collection[str], *, known: Collection[str] = ()) -> None:
    """Leaves the layers `names` of a prepared graph in float, in place.

    `known` are further names that are valid without being in this graph: a step program may lack some operators
    of the clip's graph. Raises ValueError for any other name.
    """
    layers = layers_of(prepared)
    unknown = sorted(set(names) - set(layers.values()) - set(known))
    if unknown:
        raise ValueError(unknown_layer(unknown[0], layers.values()))
    rounds = rounded_edges(prepared, layers, frozenset(names))
    for (observer, user), is_rounded in rounds.items():
        if not is_rounded:
            user.replace_input_with(observer, observer.all_input_nodes[0])
    for observer in observers(prepared):
        if not observer.users:
            prepared.graph.erase_node(observer)
    for node in prepared.graph.nodes:
        if node.meta.get(PASSES_ON):
            node.meta[PASSES_ON] = all(
                source.op == "call_module" or source.meta.get(PASSES_ON, False)
                for source in node.all_input_nodes
                if source.op != "get_attr"
            )
    prepared.recompile()


def rounded_edges(
    prepared: fx.GraphModule, layers: dict[fx.Node, str], names: frozenset[str], *, alone: bool = False
) -> dict[Edge, bool]:
    """Every observer and reader of its value -> whether the value is rounded if the layers `names` are float.

    With `alone` all other layers are int8, also operators without weights whose neighbours are float.
    """
    kept = kept_nodes(layers, names, alone=alone)
    edges: dict[Edge, bool] = {}
    for observer in observers(prepared):
        source = observer.all_input_nodes[0]
        for user in observer.users:
            moved = moves(user)
            # The weights of a convolution that moves frames are int8 if the frames are.
            made = set(makers(user)) if moved and is_weight(observer) else {source}
            read = set(readers(user)) if moved else {user}
            made_int8 = any(one in layers and one not in kept and _gives_int8(one) for one in made)
            edges[observer, user] = made_int8 or any(one in layers and one not in kept for one in read)
    return edges


def kept_nodes(layers: dict[fx.Node, str], names: frozenset[str], *, alone: bool = False) -> set[fx.Node]:
    """The nodes that compute in float if the layers `names` do."""
    kept = {node for node, name in layers.items() if name in names}
    if alone:
        return kept
    for node in layers:
        computed = [maker for maker in makers(node) if maker.op == "call_function"]
        if node.target not in WEIGHTED and computed and all(maker in kept for maker in computed):
            kept.add(node)
    for node in reversed(layers):
        # A concatenation with the past frames of a stream, which only layers in float read.
        read = [reader for reader in readers(node) if reader in layers]
        made = [maker for maker in makers(node) if maker in layers]
        if node.target is torch.ops.aten.cat.default and read and kept.issuperset([*read, *made]):
            kept.add(node)
    return kept


def _gives_int8(maker: fx.Node) -> bool:
    """Whether the result of `maker` itself is int8, and not only an input of another layer."""
    return maker.meta[ANNOTATION].output_qspec is not None


def float_layers(reference: fx.GraphModule | ExportedProgram) -> tuple[str, ...]:
    """Names of the convolutions and linear layers of an int8 reference that have float weights, in graph order.

    Convolutions that only move frames are left out.
    """
    if isinstance(reference, ExportedProgram):
        signature = reference.graph_signature
        stored = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        values = {
            name: reference.state_dict[key] for name, key in stored.items() if key in reference.state_dict
        }
    else:
        nodes = [node for node in reference.graph.nodes if node.op == "get_attr"]
        values = {node.name: attrgetter(str(node.target))(reference) for node in nodes}
    found = (
        name_of(node)
        for node in reference.graph.nodes
        # An int8 weight is behind a dequantize operator.
        if node.target in WEIGHTED and node.args[1].name in values and not _copies(values[node.args[1].name])
    )
    return tuple(dict.fromkeys(found))


def _copies(weight: Tensor) -> bool:
    """Whether every output channel has one tap of weight 1."""
    taps = weight.detach().flatten(1)
    return bool(((taps == 0) | (taps == 1)).all() and (taps.sum(1) == 1).all())
