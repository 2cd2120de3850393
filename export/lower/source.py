"""Reads the captured graph: arguments by name, shapes, and the place of an operator in the user's source."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from compress.command.lines import is_library
from export.private.torch import schema_of

_TORCH = Path(torch.__file__).parent

NO_FORM = "mobile runtimes have no operator for it and no exact replacement"
"""Why an operator without a rule cannot be exported."""

OPEN_SIZE = "the size of its result depends on values, and sizes in a file are fixed"
"""Why selection by a mask cannot be exported."""

_KEEP_ALL = (
    "keep all positions and multiply by the mask, or use torch.where; a masked mean is "
    "(x * mask).sum(dim) / mask.sum(dim)"
)

OPEN_SIZES = {
    "index": (
        "if the mask is constant, store its positions as indices, "
        "self.register_buffer('kept', mask.nonzero()[:, 0]) in __init__, and use x[:, self.kept]; if it is "
        f"computed, {_KEEP_ALL}"
    ),
    "masked_select": _KEEP_ALL,
    "nonzero": _KEEP_ALL,
    "nonzero_numpy": _KEEP_ALL,
    "where": _KEEP_ALL,
}
"""Suggestions for operators whose results have no fixed size; `OUTSIDE` for the others."""

OUTSIDE = "compute it outside of the network"

INSTEAD: dict[str, str] = {
    "grid_sampler_3d": "sample frame by frame: grid_sample of images N C H W is supported",
    "grid_sampler_2d": "use mode 'bilinear' or 'nearest'",
    "scatter": "write few positions, with an index as large as the value in all other axes",
    "scatter_add": "write few positions, with an index as large as the value in all other axes",
    "index_put": "assign to slices, to one list of positions, or one number where a mask is true (torch.where)",
    "max_unpool2d": "use interpolate instead",
    "max_unpool3d": "use interpolate instead",
}
"""Suggestions for operators that have no rule."""

REWRITE = (
    "write this line with sums, products, comparisons and functions such as exp, log, sqrt, sin and tanh, or "
    "compute it outside the network"
)
"""Suggestion for all other operators."""

_MODULE = re.compile(r'^\s*Module "(?P<path>.*)" \((?P<kind>.*)\)$', re.MULTILINE)


def bind(node: fx.Node, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of an ATen call by name, defaults filled in."""
    schema = parameters(node)
    bound = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    bound.update(zip((argument.name for argument in schema), args, strict=False))
    bound.update(kwargs)
    return bound


def parameters(node: fx.Node) -> Any:
    """The arguments in the schema of an ATen call, in order."""
    schema = schema_of(node.target)
    assert schema is not None, f"{node.target} has no schema"
    return schema.arguments


def shape(node: fx.Node) -> tuple[int, ...]:
    """Shape of the output tensor of `node` (the first of several)."""
    value = node.meta["val"]
    return tuple((value[0] if isinstance(value, tuple | list) else value).shape)


def rank(node: fx.Node) -> int:
    """Highest rank among the output tensors of `node`; 0 if there are none."""
    value = node.meta.get("val")
    values = value if isinstance(value, tuple | list) else (value,)
    return max((v.dim() for v in values if isinstance(v, Tensor)), default=0)


def operator_name(node: fx.Node) -> str:
    """Name of the operator in PyTorch's documentation, such as `conv3d`."""
    return str(getattr(node.target, "overloadpacket", node.target)).removeprefix("aten.")


def users_name(node: fx.Node) -> str:
    """Name of the function that the user called, such as `grid_sample`; that of the operator if unknown."""
    parts = str((node.meta.get("torch_fn") or ("", ""))[1]).split(".")
    # Such as `function.relu`, or `OpOverload.relu.default` in a graph that was lowered.
    called = parts[1] if parts[0] == "OpOverload" and len(parts) > 1 else parts[-1]
    overloads = getattr(node.target, "overloadpacket", None)
    is_overload = overloads is not None and called in overloads.overloads()
    is_name = called.isidentifier() and not called.startswith("_") and not is_overload
    return called if is_name else operator_name(node)


def place(node: fx.Node) -> str:
    """Place of the operator in the user's `forward`: file, line and the line itself."""
    found = user_line(node.meta.get("stack_trace")) or module_of(node)
    return found or f"node {node.name!r} (its place in the source is unknown)"


def module_of(node: fx.Node) -> str | None:
    """The innermost module that called the operator: the only information if no user code calls it."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    if not modules:
        return None
    path, kind = modules[-1]
    name = str(kind).rpartition(".")[2]
    return f"module {path!r} ({name})" if path else f"the network itself ({name})"


def name_module(node: fx.Node) -> None:
    """Adds the module of an operator to its stack trace, which passes keep, if the user's line does not identify
    it: a torch container or an installed package calls it."""
    trace = node.meta.get("stack_trace") or ""
    files = [head.split('"')[1] for head, _ in _frames(trace)]
    behind = 0
    for file in reversed(files):
        if not is_library(file):
            break
        behind += 1
    # One torch frame is that of the layer itself, which the user's line calls.
    is_plain = behind <= 1 and behind < len(files)
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    if is_plain or not modules or not modules[-1][0] or _MODULE.search(trace):
        return
    path, kind = modules[-1]
    node.meta["stack_trace"] = f'{trace.rstrip()}\n  Module "{path}" ({str(kind).rpartition(".")[2]})\n'


def is_random(node: fx.Node) -> bool:
    """Whether an operator draws random numbers here: dropout only in training, and only with p > 0."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    given = bind(node, node.args, node.kwargs)
    return given.get("train", True) is not False and given.get("p") != 0


def user_line(stack_trace: str | None) -> str | None:
    """The innermost line of a stack trace in the user's code: `file:line` and the code.

    If it does not identify the module (`name_module`), the module follows. Without user code it is the innermost
    line of an installed package other than torch, or else the module only. `None` if there is neither.
    """
    frames = _frames(stack_trace)
    own = [(head, code) for head, code in frames if not is_library(head.split('"')[1])]
    named = _MODULE.search(stack_trace or "")
    module = f"{named['path']} ({named['kind']})" if named else None
    line = _innermost(own)
    if line is not None:
        return f"{line}, in {module}" if module else line
    foreign = _innermost([(head, code) for head, code in frames if f"{_TORCH}{os.sep}" not in head])
    if foreign is None:
        return f"module {named['path']!r} ({named['kind']})" if named else None
    return f"{foreign}, in {module}" if module else foreign


def _frames(stack_trace: str | None) -> list[tuple[str, str]]:
    """Location and code of every frame that has a file."""
    lines = [line.strip() for line in (stack_trace or "").splitlines()]
    pairs = zip(lines, [*lines[1:], ""], strict=False)
    return [(head, code) for head, code in pairs if head.startswith('File "') and 'File "<' not in head]


def _innermost(frames: list[tuple[str, str]]) -> str | None:
    if not frames:
        return None
    head, code = frames[-1]
    file, line = head.removeprefix("File ").split(", ")[:2]
    shown = f" `{code}`" if code and not code.startswith('File "') else ""
    return f"{file.strip(chr(34))}:{line.removeprefix('line ')}{shown}"


class Refusal(NotImplementedError):
    """An operator that cannot be lowered."""

    def __init__(self, node: fx.Node, why: str, instead: str) -> None:
        super().__init__(f"{users_name(node)} at {place(node)} cannot be exported: {why}; {instead}")
        self.node, self.why, self.instead = node, why, instead


def refuse(node: fx.Node, why: str, instead: str) -> Refusal:
    """The error for an operator that cannot be lowered."""
    return Refusal(node, why, instead)
