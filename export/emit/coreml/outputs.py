"""Adapts outputs to Core ML: each a separate tensor with at least one axis, of float numbers or int32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from export.manifest import TensorInfo

aten = torch.ops.aten


def fit_outputs(program: ExportedProgram) -> None:
    """Multiplies by 1 an output that is an input, a constant or another output. Converts booleans to integers, and
    outputs without axes to shape (1,). In place."""
    graph = program.graph
    output = next(node for node in graph.nodes if node.op == "output")
    taken: set[fx.Node] = set()
    results: list[Any] = []
    for node, spec in zip(output.args[0], program.graph_signature.output_specs, strict=True):
        fitted = node
        if isinstance(node, fx.Node):
            with graph.inserting_before(output):
                fitted = _fitted(graph, node, is_taken=node in taken)
            taken |= {node, fitted}
            spec.arg.name = fitted.name
        results.append(fitted)
    output.args = (type(output.args[0])(results),)  # type: ignore[call-arg]
    program.graph_module.recompile()


def _fitted(graph: fx.Graph, node: fx.Node, *, is_taken: bool) -> fx.Node:
    value = node.meta["val"]
    steps: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []
    if value.dtype == torch.bool:
        steps.append((aten._to_copy.default, (), {"dtype": torch.int32}))
    elif is_taken or node.op == "placeholder":
        steps.append((aten.mul.Tensor, (1,), {}))
    if value.dim() == 0:
        steps.append((aten.view.default, ([1],), {}))
    for target, args, kwargs in steps:
        source = node
        node = graph.call_function(target, (source, *args), kwargs)
        node.meta = {
            key: source.meta[key] for key in ("stack_trace", "nn_module_stack") if key in source.meta
        }
        node.meta["val"] = target(source.meta["val"], *args, **kwargs)
    return node


def with_an_axis(outputs: Sequence[TensorInfo]) -> tuple[tuple[TensorInfo, ...], tuple[str, ...]]:
    """Outputs after `fit_outputs`, and a note for every output without axes in the network."""
    fitted = tuple(info if info.shape else replace(info, shape=(1,), layout="N") for info in outputs)
    notes = tuple(
        f"output {info.name!r} has shape (1,): Core ML returns no scalars"
        for info in outputs
        if not info.shape
    )
    return fitted, notes
