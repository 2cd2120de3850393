"""Checks a network for ONNX Runtime's CPU provider, which runs every operator with an ONNX form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from export.lower.source import bind, operator_name
from export.preflight.facts import NO_ONNX_FORM, ONNXRUNTIME_INT8
from export.preflight.finding import Finding
from export.preflight.subject import (
    Subject,
    between_int8,
    computing,
    depending,
    is_float,
    is_rounding,
    moves,
    reads_int8,
)
from export.verify.coverage.onnx_rules import misfit
from export.verify.coverage.places import places_of

_BLOCK = 8 if torch.backends.cpu.get_cpu_capability() == "AVX2" else 16
"""Block size in channels on this machine's processor, as in the coverage of a file."""

_PAIRS = ("add", "mul", "sub")
"""Binary operators, of which neither operand is a layer's weight."""

_CLAMPS = ("relu", "relu6", "hardtanh", "clamp", "clamp_min")


def check(subject: Subject) -> Iterator[Finding]:
    """Operators without an ONNX form, without a fast kernel, and in float in an int8 file."""
    places = places_of(subject.core.graph)
    for node in computing(subject.core):
        if operator_name(node) in NO_ONNX_FORM:
            yield subject.finding("refused", node, "torch has no ONNX form of it", places=places)
    places = places_of(subject.program.graph)
    computed = depending(subject.program)
    for node in computing(subject.program):
        if subject.scheme == "w8a8":
            why = _why_float(node, computed)
            if why is not None:
                yield subject.finding("float", node, why, places=places)
        else:
            why = _why_slow(node)
            if why is not None:
                yield subject.finding("slow", node, why, places=places)


def _why_slow(node: fx.Node) -> str | None:
    """Why a float convolution has no blocked kernel, the fast ones on x86 processors; `None` if it has one."""
    name = operator_name(node)
    if name.startswith("conv_transpose"):
        return "ONNX Runtime has no blocked kernel for transposed convolutions"
    if name != "conv2d":
        return None
    arguments = bind(node, node.args, node.kwargs)
    shape = tuple(arguments["weight"].meta["val"].shape)
    # Few channels in a plain layout, as in a clip, are read directly, except by pointwise kernels.
    if arguments["groups"] == 1 and shape[1] < _BLOCK and shape[2:] != (1, 1):
        return None
    found = misfit(shape, groups=arguments["groups"])
    return None if found is None else f"{found}; it runs as im2col and a matrix product"


def _why_float(node: fx.Node, computed: set[fx.Node]) -> str | None:
    name = operator_name(node)
    if not is_float(node) or moves(node) or name in _CLAMPS:
        return None
    if name not in ONNXRUNTIME_INT8 or not _fits(node):
        return "ONNX Runtime has no integer kernel for it"
    if name in _PAIRS and not _both_rounded(node, computed):
        return "one of its operands is a constant, for which there is no integer kernel"
    if name == "matmul" and not all(is_rounding(source) for source in node.all_input_nodes):
        return "one of its operands is in float"
    # A product of two int8 values has a kernel with float output.
    if between_int8(node, clamps=_CLAMPS) or (name == "matmul" and reads_int8(node)):
        return None
    return "not all of its inputs and outputs are rounded to int8"


def _both_rounded(node: fx.Node, computed: set[fx.Node]) -> bool:
    """Whether both operands are rounded results: constants have integers of another type."""
    sources = node.all_input_nodes
    same_twice = len(sources) == 1 and node.args[0] is node.args[1]
    return (len(sources) == 2 or same_twice) and all(
        is_rounding(source) and source in computed for source in sources
    )


def _fits(node: fx.Node) -> bool:
    """Whether a mean is over rows and columns, the only mean with an integer kernel."""
    if operator_name(node) != "mean":
        return True
    source: Any = node.args[0]
    dims: Any = node.args[1]
    return source.meta["val"].dim() == 4 and sorted(dim % 4 for dim in dims) == [2, 3]
