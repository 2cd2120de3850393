"""Stream order: an operator runs as soon as the last frame that it needs is available."""

from __future__ import annotations

import copy

from torch import fx

from export.layout.stream_order.rules import ARRIVES


def in_order(module: fx.GraphModule) -> fx.GraphModule:
    """The same graph, sorted by the last frame that each operator needs; the order within a frame is kept."""
    steps: dict[fx.Node, int] = {}
    for node in module.graph.nodes:
        waited = max((steps[source] for source in node.all_input_nodes), default=0)
        steps[node] = waited + node.meta.get(ARRIVES, 0)
    operators = [node for node in module.graph.nodes if node.op == "call_function"]
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    first = [node for node in module.graph.nodes if node.op in ("placeholder", "get_attr")]
    last = [node for node in module.graph.nodes if node.op == "output"]
    for node in (*first, *sorted(operators, key=steps.__getitem__), *last):
        copies[node] = graph.node_copy(node, copies.__getitem__)
        copies[node].meta = copy.copy(node.meta)
    return fx.GraphModule(module, graph, class_name="Streamed")
