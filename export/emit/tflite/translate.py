"""Translates an ATen graph to a LiteRT graph, operator by operator, with transposes only where they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.export import ExportedProgram, default_decompositions
from torch.fx.node import map_aggregate

from export.emit.tflite.emit import Emitter, Value
from export.emit.tflite.graph import Graph, Tensor, constant
from export.emit.tflite.layout import identity
from export.emit.tflite.operators import INSTEAD, MEANINGS, OPERATORS
from export.lower.composites.pooling import decompose_dilated_max_pool
from export.lower.composites.table import SPARE
from export.lower.prelu import restore_prelu
from export.lower.source import INSTEAD as GENERAL
from export.lower.source import NO_FORM, REWRITE, operator_name, place, users_name
from export.manifest import FileSpec, TensorInfo
from export.private import torch as insides
from export.verify.coverage.places import places_of

_TORCH_AXES = "NCTHWMBLK"
"""Axis letters in torch's order, whatever the layout of a file."""

_FILE_DTYPES = {
    torch.float32: "float32",
    torch.int64: "int32",
    torch.int32: "int32",
    torch.int8: "int8",
    torch.bool: "bool",
}


def translate(program: ExportedProgram, *, spec: FileSpec) -> Graph:
    """The LiteRT graph of `program` with names and layouts of inputs and outputs from `spec`.

    Raises ValueError if `spec` does not fit the program, NotImplementedError, with the place in the user's source,
    for operators without a LiteRT form.
    """
    program = decomposed(program)
    faults = [
        f"{users_name(node)} at {place(node)} cannot be written for LiteRT: {NO_FORM}; {instead(node)}"
        for node in unknown(program)
    ]
    if faults:
        raise NotImplementedError("; ".join(dict.fromkeys(faults)))
    return Translation(program, spec=spec).run()


def decomposed(program: ExportedProgram) -> ExportedProgram:
    """The program without in-place operators, with operators outside the table decomposed where torch can."""
    known = default_decompositions()
    known.update(SPARE)  # torch's table is not a plain dict: `|` returns an empty one
    restore_prelu(program)
    decompose_dilated_max_pool(program.graph)
    while True:
        calls = [node for node in program.graph.nodes if node.op == "call_function"]
        used = {node.target for node in calls if operator_name(node) not in INSTEAD or node.target in SPARE}
        table = {target: known[target] for target in used - OPERATORS.keys() if target in known}
        program = insides.decomposed(program, table)
        if not any(target in SPARE for target in table):
            return program


def unknown(program: ExportedProgram) -> list[fx.Node]:
    """The operators of a decomposed program that have no LiteRT form."""
    computed = _computed(program)
    return [
        node
        for node in program.graph.nodes
        if node.op == "call_function" and node.target not in OPERATORS and node.users and node in computed
    ]


def instead(node: fx.Node) -> str:
    """Suggestion for an operator without a LiteRT form."""
    name = operator_name(node)
    return INSTEAD.get(name, GENERAL.get(name, REWRITE))


def _computed(program: ExportedProgram) -> set[fx.Node]:
    """Nodes that depend on an input; the others are constants and are evaluated by torch."""
    names = set(program.graph_signature.user_inputs)
    computed: set[fx.Node] = set()
    for node in program.graph.nodes:
        if (node.op == "placeholder" and node.name in names) or any(
            n in computed for n in node.all_input_nodes
        ):
            computed.add(node)
    return computed


class Translation:
    """State of one translation of a decomposed program."""

    def __init__(self, program: ExportedProgram, *, spec: FileSpec) -> None:
        self.program = program
        self.spec = spec
        self.graph = Graph()
        self.emitter = Emitter(self.graph)
        self.values: dict[fx.Node, Any] = {}
        """A `Value` (or several) for what the file computes, a torch tensor for what is known at conversion."""

    def run(self) -> Graph:
        """Translates every operator; raises the errors of `translate`."""
        self._bind_inputs()
        self.graph.places = places_of(self.program.graph)
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self.values[node] = self.call(node)
            elif node.op == "output":
                self._finish(node.args[0])
        return self.graph

    def _bind_inputs(self) -> None:
        signature, tensors = self.program.graph_signature, self._known_tensors()
        nodes = {node.name: node for node in self.program.graph.nodes if node.op == "placeholder"}
        for name, node in nodes.items():
            if name not in signature.user_inputs:
                self.values[node] = tensors[name]
        names = signature.user_inputs
        if len(names) != len(self.spec.inputs):
            raise ValueError(
                f"the network takes {len(names)} inputs, the file must have {len(self.spec.inputs)}"
            )
        for name, info in zip(names, self.spec.inputs, strict=True):
            order = _order(info)
            tensor = Tensor(info.name, info.shape, info.dtype)
            value = Value(tensor, order)
            torch_shape = tuple(nodes[str(name)].meta["val"].shape)
            if value.shape != torch_shape:
                raise ValueError(
                    f"input {info.name!r}: the file must take shape {info.shape} in layout {info.layout}, "
                    f"but the network takes {torch_shape}"
                )
            self.graph.inputs.append(tensor)
            self.values[nodes[str(name)]] = value

    def _known_tensors(self) -> dict[str, torch.Tensor]:
        signature = self.program.graph_signature
        stored: dict[str, Any] = {**self.program.state_dict, **self.program.constants}
        sources = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        return {name: stored[target].detach() for name, target in sources.items()}

    def call(self, node: fx.Node) -> Any:
        """Result of one operator: a `Value` or several, a tensor if it is known at conversion."""
        args: Any = fx.map_arg(node.args, self.values.__getitem__)
        kwargs: Any = fx.map_arg(node.kwargs, self.values.__getitem__)
        if node.target not in MEANINGS and not _has_value((args, kwargs)):
            with torch.no_grad():
                return node.target(*args, **kwargs)  # type: ignore[operator]
        self.emitter.node_name = node.name
        args, kwargs = map_aggregate((args, kwargs), lambda leaf: _as_value(node, leaf))  # type: ignore[misc]
        try:
            result = OPERATORS[node.target](self.emitter, *args, **kwargs)
        except NotImplementedError as error:
            raise NotImplementedError(f"{users_name(node)} at {place(node)}: {error}") from error
        if isinstance(result, Value):
            expected = tuple(node.meta["val"].shape)
            assert result.shape == expected, f"{node.name}: wrote shape {result.shape}, torch has {expected}"
            if self.graph.ops and result.tensor is self.graph.ops[-1].outputs[0]:
                result.tensor.name = node.name
        return result

    def _finish(self, outputs: Sequence[fx.Node]) -> None:
        if len(outputs) != len(self.spec.outputs):
            raise ValueError(
                f"the network returns {len(outputs)} outputs, the file must have {len(self.spec.outputs)}"
            )
        for node, info in zip(outputs, self.spec.outputs, strict=True):
            value = _as_value(node, self.values[node])
            self.emitter.node_name = info.name
            tensor = self.emitter.place(value, _order(info))
            if tensor.shape != info.shape:
                raise ValueError(
                    f"output {info.name!r}: the file must return {info.shape}, the network returns {tensor.shape}"
                )
            is_own = tensor not in self.graph.inputs and tensor not in self.graph.outputs
            if not is_own or tensor.data is not None:
                tensor = self.emitter.reshape_memory(tensor, tensor.shape)
            tensor.name = info.name
            if node.name in self.graph.places:
                self.graph.places[info.name] = self.graph.places[node.name]
            self.graph.outputs.append(tensor)


def _order(info: TensorInfo) -> tuple[int, ...]:
    """Memory order of an input or output from its layout letters."""
    return tuple(sorted(info.layout, key=_TORCH_AXES.index).index(letter) for letter in info.layout)


def _has_value(arguments: Any) -> bool:
    found: list[bool] = []
    map_aggregate(arguments, lambda leaf: found.append(isinstance(leaf, Value)))
    return any(found)


def _as_value(node: fx.Node, leaf: Any) -> Any:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    dtype = _FILE_DTYPES.get(leaf.dtype, "float32")
    data = np.asarray(leaf.contiguous().numpy()).astype(dtype)
    return Value(constant(f"{node.name}/constant", data), identity(data.ndim))
