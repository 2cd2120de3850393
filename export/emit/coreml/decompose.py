"""Reduces a captured program to operators that coremltools converts."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from export.emit.coreml.reflection import restore_reflection
from export.lower.composites.pooling import decompose_dilated_max_pool
from export.lower.composites.sampling import BILINEAR, NEAREST
from export.lower.composites.table import SPARE
from export.lower.source import INSTEAD, NO_FORM, REWRITE, operator_name, place, users_name
from export.private.coremltools import is_converted
from export.private.torch import decomposed, decompositions

aten = torch.ops.aten


def _quotient(x: Tensor) -> Tensor:
    one = torch.ones([1] * max(x.dim(), 1))  # coremltools cannot fill a tensor without axes
    return (one / x).reshape(x.shape) if x.dim() == 0 else one / x


def _either(a: Tensor, b: Tensor) -> Tensor:
    return aten.logical_or(a, b) if a.dtype == b.dtype == torch.bool else NotImplemented


def _one_of_two(a: Tensor, b: Tensor) -> Tensor:
    return aten.logical_xor(a, b) if a.dtype == b.dtype == torch.bool else NotImplemented


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor:
    if approximate == "none":
        return NotImplemented
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


BITS: dict[Any, Callable[..., Any]] = {
    aten.bitwise_or.Tensor: _either,
    aten.bitwise_xor.Tensor: _one_of_two,
}
"""Bitwise operators, which coremltools does not convert, and logical ones, which it converts under other names."""

OWN: dict[Any, Callable[..., Any]] = {aten.reciprocal.default: _quotient, aten.gelu.default: _gelu, **BITS}
"""Operator -> its form for coremltools."""

MISTAKEN = (aten.reciprocal.default, aten.asinh.default, aten.acosh.default)
"""Operators that coremltools lists and converts incorrectly: 1 / x to `inverse`, which divides by x + 1e-4, and
two to operators that MIL does not have."""


def decompose(program: ExportedProgram) -> ExportedProgram:
    """`program` with operators of coremltools' table only; `OWN`, torch and `SPARE` have the decompositions.

    Recurrent layers become linear layers and sums, one set for every step of the sequence: coremltools takes no
    captured LSTM, writes GRUs as loops, and the Neural Engine runs neither. Raises NotImplementedError, with the
    place in the user's source, for an operator that neither coremltools nor torch's decompositions cover.
    """
    decompose_dilated_max_pool(program.graph)
    program = decomposed(program, {})
    restore_reflection(program.graph)
    _name_samplers(program.graph)
    seen: list[fx.Node] = []
    while unknown := [node for node in program.graph.nodes if not _is_known(node)]:
        targets = {node.target for node in unknown}
        own = SPARE | OWN
        table = decompositions(targets) | {op: own[op] for op in targets if op in own}
        if not table or targets == {node.target for node in seen}:
            faults = [
                f"{users_name(node)} at {place(node)} cannot be written for Core ML: {NO_FORM}; "
                f"{INSTEAD.get(operator_name(node), REWRITE)}"
                for node in unknown
            ]
            raise NotImplementedError("; ".join(dict.fromkeys(faults)))
        program, seen = decomposed(program, table), unknown
    return program


def is_written_otherwise(node: fx.Node) -> bool:
    """Whether `decompose` handles an operator that coremltools does not convert."""
    if node.target in BITS:
        return node.meta["val"].dtype == torch.bool
    return node.target in SPARE or node.target in OWN


def _name_samplers(graph: fx.Graph) -> None:
    """Renames `grid_sample` to the name that coremltools knows; it does not support bicubic interpolation."""
    for node in graph.nodes:
        if node.target is aten.grid_sampler_2d.default and node.args[2] in (BILINEAR, NEAREST):
            node.target = aten.grid_sampler.default


def _is_known(node: fx.Node) -> bool:
    if node.op != "call_function" or node.target is operator.getitem:
        return True
    if node.target in MISTAKEN:
        return False
    if node.target is aten.gelu.default:  # coremltools ignores the keyword and converts the exact one
        return node.kwargs.get("approximate", "none") == "none"
    return is_converted(node.target)
