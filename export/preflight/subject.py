"""The network as the input of one writer, and queries about its operators for the checks of all runtimes."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram, default_decompositions

from export.lower.source import operator_name
from export.preflight.facts import INSTEAD, REWRITE, XNNPACK_KEEPS
from export.preflight.finding import Finding, Severity
from export.verify.coverage.macs import macs

_MOVES = frozenset(
    (
        "alias", "chunk", "clone", "contiguous", "copy", "detach", "expand", "flatten", "getitem",
        "permute", "reshape", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose",
        "unbind", "unsqueeze", "view",
    )
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The network as the input of one writer."""

    format: str
    scheme: str
    program: ExportedProgram
    """Lowered; for `w8a8` the int8 reference."""
    macs: int
    """Multiply-adds of the whole network."""
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The user's operators by the stack trace of their call."""

    @cached_property
    def core(self) -> ExportedProgram:
        """The program in core ATen operators, except those that XNNPACK supports undecomposed."""
        kept = {getattr(getattr(torch.ops.aten, name), overload) for name, overload in _kept()}
        known = default_decompositions()
        return self.program.run_decompositions({op: known[op] for op in known if op not in kept})

    def finding(self, severity: Severity, node: fx.Node, why: str, *, places: dict[str, str]) -> Finding:
        """A finding on one operator of `program` or `core`, with their places.

        It has the name that the user calls if its line has one operator that was decomposed.
        """
        name = self._origin(node)
        return Finding(
            format=self.format,
            severity=severity,
            operator=name,
            place=places.get(node.name),
            why=why,
            instead=INSTEAD.get(name, INSTEAD.get(operator_name(node), REWRITE)),
            share=macs(node) / self.macs if self.macs else 0.0,
        )

    def _origin(self, node: fx.Node) -> str:
        name = operator_name(node)
        written = set(self.origins.get(node.meta.get("stack_trace") or "", ()))
        return next(iter(written)) if len(written) == 1 else name


def _kept() -> list[list[str]]:
    return [name.split(".") for name in XNNPACK_KEEPS]


def depending(program: ExportedProgram) -> set[fx.Node]:
    """The nodes of a program that depend on an input; the others are constants."""
    depends: set[fx.Node] = set()
    given = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.name in given or any(source in depends for source in node.all_input_nodes):
            depends.add(node)
    return depends


def computing(program: ExportedProgram) -> list[fx.Node]:
    """The operators of a program that depend on an input, except conversions between int8 and float."""
    depends = depending(program)
    return [
        node
        for node in program.graph.nodes
        if node in depends
        and node.op == "call_function"
        and node.target is not operator.getitem
        and not is_rounding(node)
        and not changes_nothing(node)
    ]


def changes_nothing(node: fx.Node) -> bool:
    """Whether a node copies its input, which writers omit."""
    if operator_name(node) not in ("alias", "clone", "contiguous", "detach", "expand", "_to_copy"):
        return False
    source, value = node.args[0], node.meta["val"]
    given = source.meta.get("val") if isinstance(source, fx.Node) else None
    return isinstance(given, Tensor) and given.shape == value.shape and given.dtype == value.dtype


def moves(node: fx.Node) -> bool:
    """Whether a node passes on its input values: in float that costs as little as in integers."""
    return operator_name(node) in _MOVES


def is_rounding(node: fx.Node) -> bool:
    """Whether a node converts between float and int8."""
    return any(name in str(node.target) for name in ("quantized_decomposed", "torchao.dequantize_affine"))


def is_float(node: fx.Node) -> bool:
    """Whether a node returns float numbers."""
    value: Any = node.meta.get("val")
    first = value[0] if isinstance(value, tuple | list) and value else value
    return isinstance(first, Tensor) and first.is_floating_point()


def between_int8(node: fx.Node, *, clamps: tuple[str, ...]) -> bool:
    """Whether a node takes only dequantized values and constants, and its result, clamped or not, is quantized."""
    users = list(node.users)
    if len(users) == 1 and operator_name(users[0]) in clamps:
        users = list(users[0].users)
    return reads_int8(node) and bool(users) and all(is_rounding(user) for user in users)


def reads_int8(node: fx.Node) -> bool:
    """Whether a node takes only dequantized values and constants."""
    computed = [source for source in node.all_input_nodes if source.op == "call_function"]
    return bool(computed) and all(is_rounding(source) for source in computed)
