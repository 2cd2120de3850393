"""Checks a network for ExecuTorch: each operator runs in XNNPACK, in a portable kernel, or not at all.

The rules are those of XNNPACK's partitioner (ExecuTorch 1.4.1, `backends/xnnpack/partition/config`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from export.emit.executorch.partition_forms import in_forms_of_xnnpack
from export.lower.source import bind, operator_name
from export.preflight.facts import PORTABLE, XNNPACK, XNNPACK_INT8
from export.preflight.finding import Finding
from export.preflight.subject import Subject, between_int8, computing, is_float, moves
from export.verify.coverage.places import places_of

_CLAMPS = ("relu", "hardtanh", "clamp")
_FUSED = ("relu", "hardtanh")
_LAYERS = ("addmm", "convolution", "linear")

_HALF = "a clamp with other bounds than ReLU6's follows it, so no int8 kernel fits its int8 weights"


def check(subject: Subject) -> Iterator[Finding]:
    """Operators in portable kernels, operators without a kernel, and operators in float in an int8 file."""
    core = replace(subject, program=in_forms_of_xnnpack(subject.program)).core
    places = places_of(core.graph)
    for node in computing(core):
        name = operator_name(node)
        why = _refusal(node, name)
        if why is None and subject.scheme == "w8a8" and name in _LAYERS and _is_half_int8(node):
            yield subject.finding("refused", node, _HALF, places=places)
        elif why is None:
            if subject.scheme == "w8a8" and not moves(node) and not _is_int8(node, name):
                yield subject.finding("float", node, _why_float(name), places=places)
        elif name in PORTABLE:
            yield subject.finding("slow", node, f"{why}; a portable kernel computes it", places=places)
        else:
            yield subject.finding("refused", node, f"{why}, and there is no portable kernel", places=places)


def _is_half_int8(layer: fx.Node) -> bool:
    """Whether a layer has int8 weights and is not an int8 layer for XNNPACK."""
    reads = ("dequantize_per_channel", "dequantize_affine")
    weights = [node for node in layer.all_input_nodes if any(name in str(node.target) for name in reads)]
    return bool(weights) and not between_int8(layer, clamps=_FUSED)


def _is_int8(node: fx.Node, name: str) -> bool:
    return name in _CLAMPS or (name in XNNPACK_INT8 and between_int8(node, clamps=_CLAMPS))


def _why_float(name: str) -> str:
    if name in XNNPACK_INT8:
        return "not all of its inputs and outputs are rounded to int8"
    return "XNNPACK, as ExecuTorch uses it, has no integer kernel for it"


def _refusal(node: fx.Node, name: str) -> str | None:
    """Why XNNPACK does not take a node; `None` if it does."""
    if name not in XNNPACK:
        return "XNNPACK has no such operator"
    if not is_float(node):
        return "XNNPACK computes it in float only"
    rule = _CONDITIONS.get(name)
    return None if rule is None else rule(bind(node, node.args, node.kwargs), node)


def _plain_sum(given: dict[str, Any], node: fx.Node) -> str | None:
    return None if given.get("alpha", 1) == 1 else "XNNPACK adds without a factor"


def _average(given: dict[str, Any], node: fx.Node) -> str | None:
    if given["ceil_mode"]:
        return "XNNPACK averages in whole windows only (no ceil_mode)"
    return (
        "XNNPACK averages without its padding (count_include_pad=False)"
        if given["count_include_pad"]
        else None
    )


def _joined(given: dict[str, Any], node: fx.Node) -> str | None:
    return None if len(given["tensors"]) >= 2 else "XNNPACK concatenates two tensors or more"


def _softmax(given: dict[str, Any], node: fx.Node) -> str | None:
    rank = _rank(given["self"])
    return None if given["dim"] % rank == rank - 1 else "XNNPACK takes softmax over the last axis only"


def _mean(given: dict[str, Any], node: fx.Node) -> str | None:
    if _rank(given["self"]) == 4 and sorted(d % 4 for d in given["dim"] or ()) == [2, 3] and given["keepdim"]:
        return None
    return "XNNPACK averages over the last two of four axes only, with keepdim"


def _window(given: dict[str, Any], node: fx.Node) -> str | None:
    kernel, stride = given["kernel_size"], given["stride"] or given["kernel_size"]
    fits = all(step <= size for step, size in zip(stride, kernel, strict=False))
    return None if fits else "XNNPACK takes no stride larger than the window"


def _slice(given: dict[str, Any], node: fx.Node) -> str | None:
    return None if given["step"] == 1 else "XNNPACK slices with step 1 only"


def _power(given: dict[str, Any], node: fx.Node) -> str | None:
    return None if given["exponent"] == 2 else "XNNPACK supports squares only"


def _padding(given: dict[str, Any], node: fx.Node) -> str | None:
    return None if min(given["pad"]) >= 0 else "XNNPACK pads by positive amounts only"


def _largest(given: dict[str, Any], node: fx.Node) -> str | None:
    if node.target is torch.ops.aten.max.dim and _rank(given["self"]) == 4:
        read = {user.args[1] for user in node.users}
        return None if read <= {0} else "XNNPACK returns no indices"
    return "XNNPACK computes the maximum along an axis of rank-4 tensors only"


def _convolution(given: dict[str, Any], node: fx.Node) -> str | None:
    if len(given["stride"]) > 2:
        return "XNNPACK has no 3D convolution"
    return None if given["weight"].op == "placeholder" or "quantize" in given["weight"].name else _COMPUTED


def _product(given: dict[str, Any], node: fx.Node) -> str | None:
    weight = next(given[key] for key in ("weight", "mat2") if key in given)
    source = weight.all_input_nodes[0] if operator_name(weight) in ("permute", "t", "transpose") else weight
    return None if source.op == "placeholder" or "quantize" in source.name else _COMPUTED


_COMPUTED = "XNNPACK takes constant weights only, and these are computed"


def _rank(node: fx.Node) -> int:
    return node.meta["val"].dim()


_CONDITIONS: dict[str, Callable[[dict[str, Any], fx.Node], str | None]] = {
    "_softmax": _softmax,
    "add": _plain_sum,
    "addmm": _product,
    "avg_pool2d": _average,
    "cat": _joined,
    "constant_pad_nd": _padding,
    "convolution": _convolution,
    "linear": _product,
    "max": _largest,
    "max_pool2d": _window,
    "mean": _mean,
    "mm": _product,
    "pow": _power,
    "slice": _slice,
    "sub": _plain_sum,
}
"""Conditions of XNNPACK on an operator beyond its name; each returns the reason for a refusal."""
