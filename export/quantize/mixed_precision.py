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

import torch
from torch import fx

from export.quantize.layer_names import unknown_layer
from export.quantize.layers import layers_of, makers, name_of, observers, readers
from export.quantize.quantizer import ANNOTATION, KEEPS_VALUES, PASSES_ON, WEIGHTED

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
            ) and (node.target not in WEIGHTED or layers[node] not in names)
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
        maker = observer.all_input_nodes[0]
        made_int8 = maker in layers and maker not in kept and _gives_int8(maker)
        for user in observer.users:
            read = {user} if user.target not in KEEPS_VALUES else set(readers(user))
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


def float_layers(graph: fx.Graph) -> tuple[str, ...]:
    """Names of the convolutions and linear layers of an int8 reference that have float weights, in graph order.

    `graph` is that of a module, or of an exported program.
    """
    weighted = ((node, node.args[1]) for node in graph.nodes if node.target in WEIGHTED)
    # A stored weight; an int8 one is behind a dequantize operator.
    found = (name_of(node) for node, weight in weighted if weight.op in ("get_attr", "placeholder"))
    return tuple(dict.fromkeys(found))
