"""The walk over the captured graph: every operator is copied, folded into a constant, or lowered by its rule."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.node import map_aggregate

from export.lower.convolution import convolution, demand
from export.lower.elementwise import arithmetic, binary, unary
from export.lower.normalisation import BATCH_NORM, LAYERS, batch_norm, foldable, folded
from export.lower.pooling import adaptive_pool, is_picture_mean, mean, picture_mean, pool
from export.lower.reshaping import concatenate, constant_pad, identity, on_last_axis, permute, reshape, take
from export.lower.source import bind, operator_name, rank, refuse
from export.lower.volume import Form, Volume
from export.lower.writer import Writer

aten = torch.ops.aten

Rule = Callable[["Lowering", fx.Node, dict[str, Any]], Any]

RULES: dict[Any, Rule] = {
    aten.conv3d.default: convolution,
    aten.conv3d.padding: convolution,
    aten._native_batch_norm_legit_no_training.default: batch_norm,
    aten.max_pool3d.default: pool,
    aten.avg_pool3d.default: pool,
    aten.adaptive_avg_pool3d.default: adaptive_pool,
    aten.mean.dim: mean,
    aten.relu.default: unary,
    aten.relu6.default: unary,
    aten.hardtanh.default: unary,
    aten.clamp.default: unary,
    aten.clamp_min.default: unary,
    aten.hardswish.default: unary,
    aten.hardsigmoid.default: unary,
    aten.silu.default: unary,
    aten.sigmoid.default: unary,
    aten.tanh.default: unary,
    aten.gelu.default: unary,
    aten.elu.default: unary,
    aten.leaky_relu.default: unary,
    aten.exp.default: unary,
    aten.neg.default: unary,
    aten.abs.default: unary,
    aten.sqrt.default: unary,
    aten.rsqrt.default: unary,
    aten.pow.Tensor_Scalar: unary,
    aten.add.Tensor: arithmetic,
    aten.sub.Tensor: arithmetic,
    aten.mul.Tensor: arithmetic,
    aten.div.Tensor: arithmetic,
    aten.rsub.Scalar: arithmetic,
    aten.maximum.default: binary,
    aten.minimum.default: binary,
    aten.clone.default: identity,
    aten.contiguous.default: identity,
    aten.detach.default: identity,
    aten.alias.default: identity,
    aten.dropout.default: identity,
    aten.view.default: reshape,
    aten.reshape.default: reshape,
    aten._unsafe_view.default: reshape,
    aten.flatten.using_ints: reshape,
    aten.squeeze.dim: reshape,
    aten.squeeze.dims: reshape,
    aten.unsqueeze.default: reshape,
    aten.permute.default: permute,
    aten.transpose.int: permute,
    aten.cat.default: concatenate,
    aten.slice.Tensor: take,
    aten.select.int: take,
    aten.split.Tensor: take,
    aten.split_with_sizes.default: take,
    aten.linear.default: on_last_axis,
    aten.layer_norm.default: on_last_axis,
    aten.pad.default: constant_pad,
    aten.constant_pad_nd.default: constant_pad,
}
"""How each operator on a value of rank 5 is written. Operators on rank <= 4 are copied unchanged."""

INDIFFERENT: tuple[Rule, ...] = (unary, binary, arithmetic, identity, convolution, batch_norm)
"""Rules that work in either form; what counts is who reads their result."""

INSTEAD: dict[str, str] = {
    "conv_transpose3d": "upsample with a nearest-neighbour interpolation of H and W, followed by a convolution",
    "instance_norm": "use BatchNorm3d, which folds into the convolution before it",
    "group_norm": "use BatchNorm3d, which folds into the convolution before it",
    "native_group_norm": "use BatchNorm3d, which folds into the convolution before it",
    "adaptive_max_pool3d": "use MaxPool3d with an explicit kernel, or AdaptiveAvgPool3d(1)",
}
"""What to use instead of an operator that has no rule."""

COPIES = (
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.alias.default,
    aten.dropout.default,
)
"""Left out where they are copied: they give back their input."""

VIEWS = (aten.view.default, aten._unsafe_view.default)
"""Copied as reshape: what was contiguous in the captured graph need not be so in the lowered one."""


def lower(program: ExportedProgram) -> fx.GraphModule:
    """The same function as `program` with operators of rank 4 and below: frames in the batch axis, no Conv3d.

    Inputs and outputs keep names, shapes and order. Weights are trainable parameters, BatchNorm is folded into
    them; node names are the same for every batch size. Exact up to float rounding.

    Raises NotImplementedError for an operator that cannot be lowered and ValueError for inputs or outputs that
    are not plain tensors; both name the operator or value, its place in the user's source, and what to do instead.
    """
    return Lowering(program).run()


class Lowering:
    """State of one walk; rules see the new graph (`writer`) and the values of the captured one."""

    def __init__(self, program: ExportedProgram) -> None:
        _refuse_structures(program)
        self._single_output = program.call_spec.out_spec.is_leaf()
        self.module = program.run_decompositions({}).module(check_guards=False)
        inputs = [node for node in self.module.graph.nodes if node.op == "placeholder"]
        self.writer = Writer(inputs[0].meta["val"].fake_mode)
        self.values: dict[fx.Node, Any] = {}
        self.norms = foldable(self.module)
        """BatchNorm nodes that disappear into the convolution or linear layer before them, by that layer."""
        self._folded = set(self.norms.values())
        self.scaled: dict[Volume, tuple[Volume, Tensor, Tensor]] = {}
        """Values that are another value times a scale plus a shift per channel."""

    def run(self) -> fx.GraphModule:
        """Walks the captured graph once and gives the lowered network."""
        for node in self.module.graph.nodes:
            self.writer.source = node
            if node.op == "placeholder":
                self.values[node] = self._input(node)
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
        """The form in which the nearest consumer of `node` with a preference takes it, if there is one."""
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

    def _input(self, node: fx.Node) -> fx.Node | Volume:
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
        if node in self._folded:
            return (args[0], None, None)
        if node.target is operator.getitem and isinstance(args[0], tuple | list):
            return args[0][args[1]]
        if node.target is aten._assert_tensor_metadata.default:
            return None
        parts = _leaves((args, kwargs))
        if not any(isinstance(part, fx.Node | Volume) for part in parts):
            return self._constant(node, args, kwargs)
        if any(isinstance(part, Volume) for part in parts) or rank(node) > 4:
            if rank(node) > 5:
                raise refuse(node, f"its result has rank {rank(node)}", "keep activations at rank 5 or less")
            rule = RULES.get(node.target)
            if rule is None:
                raise refuse(
                    node,
                    "there is no exact form of it at rank 4",
                    INSTEAD.get(operator_name(node), "rewrite this line"),
                )
            return rule(self, node, bind(node, args, kwargs))
        return self.copy(node, args, kwargs)

    def _constant(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise refuse(node, "its result is random", "draw random numbers in training mode only")
        target: Any = node.target
        with torch.no_grad():
            return target(*args, **kwargs)

    def copy(self, node: fx.Node, args: Any, kwargs: Any | None = None) -> Any:
        """The operator of `node` as it is, BatchNorm folded and weights made trainable."""
        if node.target is BATCH_NORM:
            return batch_norm(self, node, bind(node, args, kwargs or {}))
        if node.target in COPIES:
            return args[0]
        if node.target in VIEWS:
            return self.writer.reshape(args[0], args[1], name="reshape")
        if node.target in (aten.mean.dim, aten.adaptive_avg_pool2d.default) and is_picture_mean(node):
            return picture_mean(self, node, args[0])
        if node.target in LAYERS and isinstance(args[1], Tensor):
            x, *weights = (*args, None)[:3]
            names = (f"{node.name}_weight", f"{node.name}_bias")
            weights = [
                None if tensor is None else self.writer.weight(tensor, name=name)
                for tensor, name in zip(folded(self, node, *weights), names, strict=True)
            ]
            args = (x, *weights, *args[3:])
        return self.writer.call(node.target, args, name=node.name, kwargs=kwargs)

    def _output(self, node: fx.Node) -> None:
        originals: Any = node.args[0]
        results: list[fx.Node] = []
        for original, value in zip(originals, map(self.values.__getitem__, originals), strict=True):
            if isinstance(value, Volume):
                value = self.writer.reshape(value["plane"], value.shape, name=f"{original.name}_output")
            elif isinstance(value, Tensor):
                value = self.writer.constant(value, name=original.name)
            results.append(value)
        self.writer.graph.output(results[0] if self._single_output else tuple(results))


def _leaves(value: Any) -> list[Any]:
    leaves: list[Any] = []
    map_aggregate(value, lambda leaf: leaves.append(leaf))
    return leaves


def _drop_unused(module: fx.GraphModule) -> None:
    """Deletes weights that no node reads any more."""
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name in [*dict(module.named_parameters()), *dict(module.named_buffers())]:
        if name not in used:
            delattr(module, name)


def _refuse_structures(program: ExportedProgram) -> None:
    positional, named = program.call_spec.in_spec.children()
    if named.num_children or not all(child.is_leaf() for child in positional.children()):
        raise ValueError("the network takes keyword, list or dict inputs; give it positional tensors only")
    out = program.call_spec.out_spec
    if not out.is_leaf() and not (out.type in (tuple, list) and all(c.is_leaf() for c in out.children())):
        raise ValueError(
            f"the network returns {out.type.__name__}; let it return a tensor or a tuple of tensors"
        )
