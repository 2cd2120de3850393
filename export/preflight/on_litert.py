"""Checks a network for LiteRT: by the writer's own translation, and by the rules of its delegate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from export.capture.inputs import LAYOUTS
from export.emit.tflite.emit import Value
from export.emit.tflite.graph import Graph, Op, Tensor
from export.emit.tflite.layout import identity
from export.emit.tflite.passes import run_passes
from export.emit.tflite.translate import Translation, decomposed, instead, unknown
from export.manifest import FileSpec, TensorInfo
from export.preflight.facts import REWRITE
from export.preflight.finding import Finding
from export.preflight.subject import Subject, is_rounding
from export.verify.coverage import litert_file
from export.verify.coverage.litert_rules import UNEXPLAINED, reason
from export.verify.coverage.places import places_of

_MOVING = (
    "BROADCAST_TO", "CONCATENATION", "DEQUANTIZE", "GATHER", "PAD", "PADV2", "RESHAPE", "SLICE",
    "STRIDED_SLICE", "TRANSPOSE",
)  # fmt: skip
"""Kinds that pass on their input values: in float they cost as little as in integers."""


class _Survey(Translation):
    """A translation that continues after operators that it cannot translate."""

    def __init__(self, program: ExportedProgram, *, spec: FileSpec) -> None:
        super().__init__(program, spec=spec)
        self.unknown = set(unknown(program))
        self.refused: dict[fx.Node, tuple[str, str]] = {}
        """Why a node has no LiteRT form, and what to use instead."""

    def call(self, node: fx.Node) -> Any:
        """The result of the node, or inputs as placeholders for it."""
        try:
            if node in self.unknown:
                self.refused[node] = ("it has no LiteRT form here", instead(node))
            else:
                return super().call(node)
        except NotImplementedError as error:
            why, _, use = str(error.__cause__ or error).partition(": ")
            self.refused[node] = (why, use or REWRITE)
        value = node.meta["val"]
        if isinstance(value, torch.Tensor):
            return self._stand_in(node.name, value)
        return [self._stand_in(f"{node.name}_{i}", part) for i, part in enumerate(value)]

    def _stand_in(self, name: str, value: torch.Tensor) -> Value:
        tensor = Tensor(f"{name}/unknown", tuple(value.shape), _dtype(value))
        self.graph.inputs.append(tensor)
        return Value(tensor, identity(value.dim()))


def check(subject: Subject) -> Iterator[Finding]:
    """Operators without a LiteRT form, outside of the XNNPACK delegate, and in float in an int8 file."""
    program = decomposed(subject.program)
    translation = _Survey(program, spec=_spec(program))
    graph = translation.run()
    run_passes(graph, scheme=subject.scheme)
    places = places_of(program.graph)
    for node, (why, use) in translation.refused.items():
        yield replace(subject.finding("refused", node, why, places=places), instead=use)
    # The delegate expands stored weights when it loads a file, so they count as constants.
    expanded = {op.output for op in graph.ops if op.kind == "DEQUANTIZE" and op.inputs[0].data is not None}
    done = set(translation.refused)
    for op, node in _origins(graph, program):
        slow = _why_slow(op, expanded)
        in_float = subject.scheme == "w8a8" and op.output.dtype == "float32" and op.kind not in _MOVING
        if node not in done and (slow or in_float):
            done.add(node)
            why = slow or "the int8 reference does not round all of its inputs and outputs"
            yield subject.finding("slow" if slow else "float", node, why, places=places)


def _spec(program: ExportedProgram) -> FileSpec:
    """Inputs and outputs of a file of `program`, clips channels last."""
    nodes = {node.name: node for node in program.graph.nodes}
    given = {str(name): nodes[str(name)].meta["val"] for name in program.graph_signature.user_inputs}
    results = [nodes[str(name)].meta["val"] for name in program.graph_signature.user_outputs]

    def info(name: str, value: torch.Tensor) -> TensorInfo:
        shape = tuple(value.shape)
        return TensorInfo(name=name, shape=shape, dtype=_dtype(value), layout=LAYOUTS[max(len(shape), 1)])

    spec = FileSpec(
        inputs=tuple(info(name, value) for name, value in given.items()),
        outputs=tuple(info(f"output_{i}", value) for i, value in enumerate(results)),
        classes=((),) * len(results),
        description={},
    )
    return spec.arranged(clip_layout="NTHWC", token_dtype="int32")


def _dtype(value: torch.Tensor) -> str:
    return "float32" if value.is_floating_point() else "bool" if value.dtype is torch.bool else "int32"


def _origins(graph: Graph, program: ExportedProgram) -> Iterator[tuple[Op, fx.Node]]:
    """The operators that depend on an input, and the nodes that they come from."""
    nodes = {node.name: node for node in program.graph.nodes}
    results = [nodes[str(name)] for name in program.graph_signature.user_outputs]
    nodes |= {f"output_{i}": node for i, node in enumerate(results)}
    for op in graph.ops:
        node: Any = nodes.get(op.output.name.split("/")[0])
        # A value that was folded into integers has the name of the rounding after it.
        while node is not None and is_rounding(node):
            node = node.args[0]
        if node is not None and node.op == "call_function" and any(one.data is None for one in op.inputs):
            yield op, node


def _why_slow(op: Op, expanded: set[Tensor]) -> str | None:
    """Why the delegate does not take an operator, by the rules for operators read from a file."""

    def tensor(one: Tensor) -> litert_file.Tensor:
        scales = one.quantization.scale if one.quantization else ()
        fixed = one.data is not None or one in expanded
        return litert_file.Tensor(
            name=one.name, shape=one.shape, dtype=one.dtype, scales=scales, is_constant=fixed
        )

    inputs, outputs = (tuple(map(tensor, tensors)) for tensors in (op.inputs, op.outputs))
    why = reason(litert_file.Operator(kind=op.kind, inputs=inputs, outputs=outputs, partition=None))
    return None if why == UNEXPLAINED else why
