"""The user's layers of a lowered graph: which nodes belong to one layer, and its name.

Lowering makes several nodes of one module, and a clamp or an activation that is the only reader of a layer is
computed with it. Such nodes are one layer: they are measured together, and quantized or left in float together.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, fx

from export.lower.source import operator_name, place
from export.quantize.quantizer import ANNOTATION, KEEPS_VALUES, PASSES_ON, WEIGHTED

_NAMED_BY_MODULE = ("conv1d", "conv2d", "conv_transpose2d", "linear")
"""Operators that are named after their module, whatever its origin."""

_PREFIX = "network."
"""Name under which the wrappers of step programs and of features hold the network."""


def module_of(node: fx.Node) -> tuple[str, str]:
    """Path of the innermost module of `node` in the user's network, and its class; empty outside of any."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    return f"{path}.".removeprefix(_PREFIX).rstrip("."), str(kind)


def name_of(node: fx.Node) -> str:
    """The user's name for a node: a module, or an operator in the `forward` of one."""
    module, kind = module_of(node)
    operator = operator_name(node)
    whole = operator in _NAMED_BY_MODULE or kind.startswith("torch.nn.")
    return (module if whole else f"{operator} in {module}") if module else operator


def layers_of(prepared: fx.GraphModule) -> dict[fx.Node, str]:
    """Every node of a prepared graph that computes with int8 values -> the name of its layer, in graph order.

    Nodes that only move values, or compute with the network's inputs before their rounding, belong to no layer. Two
    operators of one name in the `forward` of one module are `add in blocks.0` and `add in blocks.0 (2)`.
    """
    layers: dict[fx.Node, str] = {}
    places: dict[str, list[str]] = {}
    for node in prepared.graph.nodes:
        if node.op != "call_function" or ANNOTATION not in node.meta or moves(node) or _normalises(node):
            continue
        before = _computed_with(node)
        if node.target not in WEIGHTED and before in layers:
            layers[node] = layers[before]
            continue
        name = name_of(node)
        known = places.setdefault(name, [])
        here = "" if name == module_of(node)[0] else place(node)
        if here not in known:
            known.append(here)
        number = known.index(here) + 1
        layers[node] = name if number == 1 else f"{name} ({number})"
    return layers


def _normalises(node: fx.Node) -> bool:
    """Whether `node` computes with an input of the network before it is rounded."""
    computed = [source for source in node.all_input_nodes if source.op != "get_attr"]
    return bool(computed) and all(
        source.op == "placeholder" or (source.op == "call_function" and _normalises(source))
        for source in computed
    )


def moves(node: fx.Node) -> bool:
    """Whether `node` only moves values; in int8 that includes convolutions that move frames."""
    return node.target in KEEPS_VALUES or bool(node.meta.get(PASSES_ON))


def makers(node: fx.Node) -> Iterator[fx.Node]:
    """The nodes that computed the inputs of `node`, behind observers and data movement; weights are left out."""
    for source in node.all_input_nodes:
        if source.op == "call_module" or moves(source):
            yield from makers(source)
        elif source.op != "get_attr":
            yield source


def readers(node: fx.Node) -> Iterator[fx.Node]:
    """The nodes that compute with the value of `node`, behind observers and data movement."""
    for user in node.users:
        if user.op == "call_module" or moves(user):
            yield from readers(user)
        else:
            yield user


def _computed_with(node: fx.Node) -> fx.Node | None:
    """The node whose only reader is `node`, if that is its only input."""
    found = list(makers(node))
    return found[0] if len(found) == 1 and len(set(readers(found[0]))) == 1 else None


def is_weight(observer: fx.Node) -> bool:
    """Whether an observer rounds a stored weight."""
    return observer.all_input_nodes[0].op == "get_attr"


def observers(prepared: fx.GraphModule) -> list[fx.Node]:
    """The nodes of a prepared graph that record a range or round, in graph order."""
    return [node for node in prepared.graph.nodes if node.op == "call_module"]


def weight_values(prepared: fx.GraphModule, layers: dict[fx.Node, str]) -> dict[str, int]:
    """Number of weights of every layer with int8 weights; 0 for one without weights."""
    counts = dict.fromkeys(layers.values(), 0)
    for observer in observers(prepared):
        if is_weight(observer):
            value = observer.all_input_nodes[0].meta.get("val")
            for layer in {layers[user] for user in observer.users if user in layers}:
                counts[layer] += value.numel() if isinstance(value, Tensor) else 0
    return counts
