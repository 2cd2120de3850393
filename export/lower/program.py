"""Lowers a captured graph: every operator is copied, folded into a constant, or lowered by its rule."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.fx.node import map_aggregate

from export.lower.block import Block, row_major, shape_of
from export.lower.composites import (
    broadcast_at_users,
    converted_before_reductions,
    logic_of_booleans,
    one_number_type,
    simplified,
    without_needless_remainders,
    without_neutral,
)
from export.lower.convolution import demand
from export.lower.normalisation import BATCH_NORM, LAYERS, batch_norm
from export.lower.reductions import is_spatial_mean, spatial_mean
from export.lower.rules import ANY_RANK, INDIFFERENT, KNOWN, ONLY_WIDE, RULES
from export.lower.source import INSTEAD, NO_FORM, REWRITE, bind, is_random, operator_name, rank, refuse, shape
from export.lower.volume import Form, Volume
from export.lower.writer import Writer

aten = torch.ops.aten

COPIES = (
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.alias.default,
    aten.dropout.default,
)
"""Omitted: they return their input."""

VIEWS = (
    aten.view.default,
    aten._unsafe_view.default,
    aten.unsqueeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
)
"""Copied as reshape: a tensor that is contiguous in the captured graph may not be in the lowered one."""


def lower(program: ExportedProgram) -> fx.GraphModule:
    """The same function as `program` with operators of rank 4 and below: frames in the batch axis, no Conv3d.

    Inputs and outputs keep names, shapes and order. Weights are trainable parameters, BatchNorm is folded into
    them; node names are the same for every batch size. Exact up to float rounding.

    Raises NotImplementedError for an operator that cannot be lowered and ValueError for inputs or outputs that
    are not plain tensors; both name the operator or value, its place in the user's source, and a remedy.
    """
    return GraphLowering(program).run()


class GraphLowering:
    """State of one lowering: the values of the captured graph, and its interface for rules, a `Lowering`."""

    def __init__(self, program: ExportedProgram) -> None:
        _refuse_structures(program)
        self._single_output = program.call_spec.out_spec.is_leaf()
        program = simplified(program, known=KNOWN)
        _refuse_state(program)
        self.module = program.module(check_guards=False)
        broadcast_at_users(self.module.graph)
        without_needless_remainders(self.module.graph)
        logic_of_booleans(self.module.graph)
        one_number_type(self.module.graph)
        without_neutral(self.module.graph)
        converted_before_reductions(self.module.graph)
        inputs = [node for node in self.module.graph.nodes if node.op == "placeholder"]
        self.writer = Writer(inputs[0].meta["val"].fake_mode)
        self.values: dict[fx.Node, Any] = {}
        self.scaled: dict[Volume, tuple[Volume, Tensor, Tensor]] = {}

    def run(self) -> fx.GraphModule:
        """Traverses the captured graph once and returns the lowered network."""
        for node in self.module.graph.nodes:
            self.writer.source = node
            if node.op == "placeholder":
                self.values[node] = self.input(node)
            elif node.op == "get_attr":
                self.values[node] = operator.attrgetter(str(node.target))(self.module)
            elif node.op == "call_function":
                self.values[node] = self._operator(node)
            elif node.op == "output":
                self._output(node)
        self.writer.graph.eliminate_dead_code()
        lowered = fx.GraphModule(self.writer.root, self.writer.graph, class_name="Lowered")
        _drop_unused(lowered)
        return lowered

    def wanted(self, node: fx.Node) -> Form | None:
        """The form that the nearest consumer of `node` with a preference takes, if there is one."""
        seen, queue = {node}, [node]
        while queue:
            for user in queue.pop(0).users:
                if user in seen:
                    continue
                seen.add(user)
                choice = demand(user)
                if choice is not None:
                    return choice
                if RULES.get(user.target) in INDIFFERENT or user.target is operator.getitem:
                    queue.append(user)
        return None

    def input(self, node: fx.Node) -> fx.Node | Volume:
        """An input of the new graph, in the form of its value."""
        value = self.writer.input(node)
        shape = tuple(value.meta["val"].shape)
        if len(shape) <= 4:
            return value
        if len(shape) > 5:
            raise ValueError(
                f"input {node.name!r} has shape {shape}; networks take inputs of rank 5 (N C T H W) or less"
            )
        n, c, t, h, w = shape
        plane = self.writer.reshape(value, (n, c, t, h * w), name=f"{node.name}_plane")
        return Volume(self.writer, shape, "plane", plane)

    def _operator(self, node: fx.Node) -> Any:
        args: Any = fx.map_arg(node.args, self.values.__getitem__)
        kwargs: Any = fx.map_arg(node.kwargs, self.values.__getitem__)
        if node.target is operator.getitem and isinstance(args[0], tuple | list):
            return args[0][args[1]]
        if node.target is aten._assert_tensor_metadata.default:
            return None
        if is_random(node):
            raise refuse(
                node,
                "its result is random",
                "draw random numbers in training mode only, as F.dropout(x, training=self.training) does",
            )
        parts = _leaves((args, kwargs))
        if not any(isinstance(part, fx.Node | Volume | Block) for part in parts):
            return self._constant(node, args, kwargs)
        is_wide = any(isinstance(part, Volume | Block) for part in parts) or rank(node) > 4
        if not is_wide and node.target not in ANY_RANK:
            return self.copy(node, args, kwargs)
        rule = RULES.get(node.target)
        if rule is None:
            raise refuse(node, NO_FORM, INSTEAD.get(operator_name(node), REWRITE))
        return rule(self, node, bind(node, args, kwargs))

    def _constant(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """A value known at conversion; if it depends on a trainable tensor, it becomes trainable itself."""
        target: Any = node.target
        with torch.no_grad():
            value = target(*args, **kwargs)
        origins = [part for part in _leaves((args, kwargs)) if isinstance(part, nn.Parameter)]
        if not origins or not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return nn.Parameter(value, requires_grad=any(origin.requires_grad for origin in origins))

    def copy(self, node: fx.Node, args: Any, kwargs: Any | None = None) -> Any:
        """The operator of `node` unchanged, weights trainable."""
        if node.target in ONLY_WIDE:
            raise refuse(node, "its input has no batch axis", "give it clips N C T H W, one with `x[None]`")
        if node.target is BATCH_NORM:
            return batch_norm(self, node, bind(node, args, kwargs or {}))
        if node.target in COPIES:
            return args[0]
        if node.target in VIEWS:
            return self.writer.reshape(args[0], shape(node), name="reshape")
        if node.target is aten.slice.Tensor and shape(node) == shape_of(args[0]):
            return args[0]
        if node.target is aten.mean.dim and is_spatial_mean(node):
            return spatial_mean(self, node, args[0])
        if node.target in LAYERS and isinstance(args[1], Tensor):
            x, *weights = (*args, None)[:3]
            names = (f"{node.name}_weight", f"{node.name}_bias")
            store = self.writer.weight if isinstance(args[1], nn.Parameter) else self.writer.constant
            weights = [
                None if tensor is None else store(tensor, name=name)
                for tensor, name in zip(weights, names, strict=True)
            ]
            args = (x, *weights, *args[3:])
        return self.writer.call(node.target, args, name=node.name, kwargs=kwargs)

    def _output(self, node: fx.Node) -> None:
        originals: Any = node.args[0]
        results: list[fx.Node] = []
        for original in originals:
            if not isinstance(original, fx.Node):  # None, or a constant number
                continue
            value = self.values[original]
            if isinstance(value, Tensor):
                value = self.writer.constant(value, name=original.name)
            elif not isinstance(value, fx.Node):
                value = self.writer.reshape(row_major(value), value.shape, name=f"{original.name}_output")
            results.append(value)
        self.writer.graph.output(results[0] if self._single_output else tuple(results))


def _leaves(value: Any) -> list[Any]:
    leaves: list[Any] = []
    map_aggregate(value, lambda leaf: leaves.append(leaf))
    return leaves


def _drop_unused(module: fx.GraphModule) -> None:
    """Deletes unused weights."""
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name in [*dict(module.named_parameters()), *dict(module.named_buffers())]:
        if name not in used:
            delattr(module, name)


def _refuse_structures(program: ExportedProgram) -> None:
    positional, named = program.call_spec.in_spec.children()
    if named.num_children or not all(child.is_leaf() for child in positional.children()):
        raise ValueError("the network takes keyword, list or dict inputs; give it positional tensors only")


def _refuse_state(program: ExportedProgram) -> None:
    changed = sorted(program.graph_signature.buffers_to_mutate.values())
    if changed:
        raise ValueError(
            f"the network changes its buffer {changed[0]!r} while it runs, which a file cannot keep; take the "
            "state as an input and return it as an output"
        )
