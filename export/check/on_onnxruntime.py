"""What ONNX Runtime's CPU provider would say to a network; it computes whatever has an ONNX form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import fx

from export.check.facts import NO_ONNX_FORM, ONNXRUNTIME_INT8
from export.check.finding import Finding
from export.check.subject import Subject, between_int8, computing, is_float
from export.coverage.onnx_rules import misfit
from export.coverage.places import places_of
from export.lower.source import bind, operator_name

_CLAMPS = ("relu", "relu6", "hardtanh", "clamp", "clamp_min")


def check_onnxruntime(subject: Subject) -> Iterator[Finding]:
    """What has no ONNX form, what has no fast kernel, and in an int8 file what computes in float."""
    places = places_of(subject.core.graph)
    for node in computing(subject.core):
        if operator_name(node) in NO_ONNX_FORM:
            yield subject.finding("refused", node, "torch has no ONNX form of it", places=places)
    places = places_of(subject.program.graph)
    for node in computing(subject.program):
        if subject.scheme == "w8a8":
            why = _why_float(node)
            if why is not None:
                yield subject.finding("float", node, why, places=places)
        elif operator_name(node) == "conv2d":
            why = _why_slow(node)
            if why is not None:
                yield subject.finding("slow", node, why, places=places)


def _why_slow(conv: fx.Node) -> str | None:
    """Why a float convolution has no blocked kernel (on x86 processors)."""
    arguments = bind(conv, conv.args, conv.kwargs)
    found = misfit(tuple(arguments["weight"].meta["val"].shape), groups=arguments["groups"])
    return None if found is None else f"{found}; it runs as copies of its input and a matrix product"


def _why_float(node: fx.Node) -> str | None:
    name = operator_name(node)
    if not is_float(node) or _is_clamp_of_layer(node):
        return None
    if name in ONNXRUNTIME_INT8 and _fits(node) and between_int8(node, clamps=_CLAMPS):
        return None
    if name in ONNXRUNTIME_INT8 and _fits(node):
        return "it reads or gives values that are not rounded to int8"
    return "ONNX Runtime has no integer kernel for it"


def _is_clamp_of_layer(node: fx.Node) -> bool:
    return operator_name(node) in _CLAMPS


def _fits(node: fx.Node) -> bool:
    """Whether a mean is one over rows and columns, which alone has an integer kernel."""
    if operator_name(node) != "mean":
        return True
    source: Any = node.args[0]
    dims: Any = node.args[1]
    return source.meta["val"].dim() == 4 and sorted(dim % 4 for dim in dims) == [2, 3]
