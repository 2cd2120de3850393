"""Restores PReLU as one operator, which all runtimes have.

The lowered graph holds it as `relu(x) - slope * relu(-x)`, which can be rounded to int8 step by step. In float both
are bitwise equal: one of the two terms is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from export.lower.source import bind

aten = torch.ops.aten

CONVOLUTIONS = (aten.conv2d.default, aten.convolution.default)


@dataclass(frozen=True, kw_only=True)
class _Found:
    """`result = relu(x) - slope * relu(-x)`."""

    result: fx.Node
    slope: fx.Node

    @property
    def x(self) -> fx.Node:
        """The current input, also after an earlier PReLU has been restored."""
        return self.result.args[0].args[0]  # type: ignore[union-attr, return-value]


def restore_prelu(program: ExportedProgram) -> None:
    """Replaces `relu(x) - slope * relu(-x)` with one slope per channel by `prelu(x, slope)`; in place."""
    stored = _Stored(program)
    found = [one for node in program.graph.nodes if (one := _match(node, stored)) is not None]
    for slope in dict.fromkeys(one.slope for one in found):
        those = [one for one in found if one.slope is slope]
        if len(slope.users) != len(those):
            continue
        stored.flatten(slope)
        for one in those:
            with program.graph.inserting_before(one.result):
                node = program.graph.call_function(aten.prelu.default, (one.x, slope))
            node.meta = dict(one.result.meta)
            one.result.replace_all_uses_with(node, propagate_meta=False)
    if found:
        program.graph.eliminate_dead_code()
        program.graph_module.recompile()


class _Stored:
    """Weights and constants of a program by their nodes."""

    def __init__(self, program: ExportedProgram) -> None:
        signature = program.graph_signature
        names = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        self._program, self._names = program, names

    def __getitem__(self, node: Any) -> Tensor | None:
        """The tensor of `node`, `None` if it is computed."""
        name = self._names.get(getattr(node, "name", None))
        if name is None:
            return None
        state = self._program.state_dict
        return state[name] if name in state else self._program.constants.get(name)

    def flatten(self, node: fx.Node) -> None:
        """Stores a tensor as a vector, the form of `prelu`'s slopes."""
        name = self._names[node.name]
        where = self._program.state_dict if name in self._program.state_dict else self._program.constants
        value = where[name]
        flat = value.detach().reshape(-1).clone()
        where[name] = nn.Parameter(flat, value.requires_grad) if isinstance(value, nn.Parameter) else flat
        node.meta["val"] = node.meta["val"].reshape(-1)


def _match(node: fx.Node, stored: _Stored) -> _Found | None:
    if node.target is not aten.sub.Tensor or node.kwargs:
        return None
    above, below = node.args
    if not isinstance(above, fx.Node) or above.target is not aten.relu.default:
        return None
    x: Any = above.args[0]
    found = _scaled(below, stored)
    if found is None:
        return None
    source, slope = found
    if source.target is not aten.relu.default:
        return None
    negated: Any = source.args[0]
    if not isinstance(negated, fx.Node) or negated.target is not aten.neg.default or negated.args[0] is not x:
        return None
    if not isinstance(x, fx.Node):
        return None
    value, shape = stored[slope], x.meta["val"].shape
    if value is None or len(shape) < 2 or value.numel() not in (1, shape[1]):
        return None
    if value.numel() > 1 and not _is_per_channel(below, value, len(shape)):
        return None
    return _Found(result=node, slope=slope)


def _scaled(node: Any, stored: _Stored) -> tuple[fx.Node, fx.Node] | None:
    """Source and factors of a product with weights, possibly a convolution, with or without added zeros."""
    if not isinstance(node, fx.Node):
        return None
    if node.target in CONVOLUTIONS:
        args = bind(node, node.args, node.kwargs)
        weight, bias = stored[args["weight"]], stored[args["bias"]]
        is_scale = (
            weight is not None and weight.dim() == 4 and weight.numel() == len(weight) == args["groups"]
        )
        is_plain = not any(args["padding"]) and all(step == 1 for step in args["stride"])
        has_bias = args["bias"] is not None and (bias is None or bool(bias.any()))
        return (args["input"], args["weight"]) if is_scale and is_plain and not has_bias else None
    if node.target is aten.add.Tensor and not node.kwargs:
        shift = stored[node.args[1]]
        return _scaled(node.args[0], stored) if shift is not None and not bool(shift.any()) else None
    if node.target is aten.mul.Tensor:
        for source, slope in (node.args, node.args[::-1]):
            if isinstance(source, fx.Node) and stored[slope] is not None:
                return source, slope  # type: ignore[return-value]
    return None


def _is_per_channel(node: Any, value: Tensor, rank: int) -> bool:
    """Whether several slopes are along the channels."""
    if node.target in CONVOLUTIONS:
        return True
    return value.dim() >= rank - 1 and value.shape[-(rank - 1)] == value.numel()
