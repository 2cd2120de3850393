"""Reading the captured graph: arguments by name, shapes, and the place of an operator in the user's source."""

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

NO_FORM = "phone runtimes have no operator for it, and none that give exactly the same"
"""Why an operator without a rule cannot be exported."""

OPEN_SIZE = "the size of its result depends on values, and sizes in a file are fixed"
"""Why what chooses positions by a mask cannot be exported."""

_KEEP_ALL = (
    "keep all positions and multiply by the mask, or use torch.where; a mean over those of a mask is "
    "(x * mask).sum(dim) / mask.sum(dim)"
)

OPEN_SIZES = {
    "index": (
        "where the mask is always the same, keep its positions as numbers, "
        "self.register_buffer('kept', mask.nonzero()[:, 0]) in __init__, and take x[:, self.kept]; where it is "
        f"computed, {_KEEP_ALL}"
    ),
    "masked_select": _KEEP_ALL,
    "nonzero": _KEEP_ALL,
    "nonzero_numpy": _KEEP_ALL,
    "where": _KEEP_ALL,
}
"""What to use in the place of operators whose results have no fixed size; `OUTSIDE` in that of others."""

OUTSIDE = "compute it outside of the network"

INSTEAD: dict[str, str] = {
    "grid_sampler_3d": "sample frame by frame: grid_sample of pictures N C H W is exported",
    "grid_sampler_2d": "use mode 'bilinear' or 'nearest'",
    "scatter": "write few positions, of an index as large as the value in all other axes",
    "scatter_add": "write few positions, of an index as large as the value in all other axes",
    "index_put": "assign to slices, to one list of positions, or one number where a mask holds (torch.where)",
    "max_unpool2d": "use interpolate in its place",
    "max_unpool3d": "use interpolate in its place",
}
"""What to use in the place of an operator that has no rule."""

REWRITE = (
    "write this line with sums, products, comparisons and functions such as exp, log, sqrt, sin and tanh, or "
    "compute it outside the network"
)
"""Where nothing better is known."""

_MODULE = re.compile(r'^\s*Module "(?P<path>.*)" \((?P<kind>.*)\)$', re.MULTILINE)


def bind(node: fx.Node, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of an ATen call by name, defaults filled in."""
    schema = parameters(node)
    bound = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    bound.update(zip((argument.name for argument in schema), args, strict=False))
    bound.update(kwargs)
    return bound


def parameters(node: fx.Node) -> Any:
    """What the schema of an ATen call says about its arguments, in order."""
    schema = schema_of(node.target)
    assert schema is not None, f"{node.target} has no schema"
    return schema.arguments


def shape(node: fx.Node) -> tuple[int, ...]:
    """Shape of the tensor that `node` gives (of the first one, when it gives several)."""
    value = node.meta["val"]
    return tuple((value[0] if isinstance(value, tuple | list) else value).shape)


def rank(node: fx.Node) -> int:
    """Highest rank among the tensors that `node` gives; 0 when it gives none."""
    value = node.meta.get("val")
    values = value if isinstance(value, tuple | list) else (value,)
    return max((v.dim() for v in values if isinstance(v, Tensor)), default=0)


def operator_name(node: fx.Node) -> str:
    """Name of the operator as PyTorch's documentation knows it, such as `conv3d`."""
    return str(getattr(node.target, "overloadpacket", node.target)).removeprefix("aten.")


def users_name(node: fx.Node) -> str:
    """Name of the function that the user called, such as `grid_sample`; the operator's own where it is unknown."""
    parts = str((node.meta.get("torch_fn") or ("", ""))[1]).split(".")
    # Such as `function.relu`, or `OpOverload.relu.default` in a graph that was lowered.
    called = parts[1] if parts[0] == "OpOverload" and len(parts) > 1 else parts[-1]
    overloads = getattr(node.target, "overloadpacket", None)
    is_overload = overloads is not None and called in overloads.overloads()
    is_name = called.isidentifier() and not called.startswith("_") and not is_overload
    return called if is_name else operator_name(node)


def place(node: fx.Node) -> str:
    """Where in the user's `forward` the operator stands: file, line and the line itself."""
    found = user_line(node.meta.get("stack_trace")) or module_of(node)
    return found or f"node {node.name!r} (its place in the source is unknown)"


def module_of(node: fx.Node) -> str | None:
    """The innermost module that the operator was called in: all there is when no code of the user's calls it."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    if not modules:
        return None
    path, kind = modules[-1]
    name = str(kind).rpartition(".")[2]
    return f"module {path!r} ({name})" if path else f"the network itself ({name})"


def name_module(node: fx.Node) -> None:
    """Writes the module of an operator into its stack trace, which passes keep, where the user's line alone does
    not say which it is: a container of torch's or an installed package calls it."""
    trace = node.meta.get("stack_trace") or ""
    files = [head.split('"')[1] for head, _ in _frames(trace)]
    behind = 0
    for file in reversed(files):
        if not is_library(file):
            break
        behind += 1
    # One frame of torch's is that of the layer itself, which the user's line calls.
    is_plain = behind <= 1 and behind < len(files)
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    if is_plain or not modules or not modules[-1][0] or _MODULE.search(trace):
        return
    path, kind = modules[-1]
    node.meta["stack_trace"] = f'{trace.rstrip()}\n  Module "{path}" ({str(kind).rpartition(".")[2]})\n'


def is_random(node: fx.Node) -> bool:
    """Whether an operator draws random numbers here: dropout does in training only, and then not with p = 0."""
    if torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ()):
        return False
    given = bind(node, node.args, node.kwargs)
    return given.get("train", True) is not False and given.get("p") != 0


def user_line(stack_trace: str | None) -> str | None:
    """The innermost line of a stack trace that is the user's own: `file:line` and the code.

    Where that does not say which module it is (`name_module`), the module follows; where no line is the user's, the
    innermost one of an installed package but torch, or else the module alone. `None` where there is neither.
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
    """Line with the file, and line of code, of every frame that has a file."""
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
