"""Reading the captured graph: arguments by name, shapes, and the place of an operator in the user's source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

_TORCH = Path(torch.__file__).parent


def bind(node: fx.Node, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of an ATen call by name, defaults filled in."""
    schema = parameters(node)
    bound = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    bound.update(zip((argument.name for argument in schema), args, strict=False))
    bound.update(kwargs)
    return bound


def parameters(node: fx.Node) -> Any:
    """What the schema of an ATen call says about its arguments, in order."""
    target: Any = node.target
    return target._schema.arguments


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


def place(node: fx.Node) -> str:
    """Where in the user's `forward` the operator stands: file, line and the line itself."""
    found = user_line(node.meta.get("stack_trace"))
    return found or f"node {node.name!r} (its place in the source is unknown)"


def user_line(stack_trace: str | None) -> str | None:
    """The innermost line outside torch in a stack trace: `file:line` and the code; `None` where there is none."""
    lines = [line.strip() for line in (stack_trace or "").strip().splitlines()]
    frames = [
        i for i, line in enumerate(lines) if line.startswith('File "') and "<eval_with_key>" not in line
    ]
    own = [i for i in frames if str(_TORCH) not in lines[i]] or frames
    if not own:
        return None
    file, line = lines[own[-1]].removeprefix("File ").split(", ")[:2]
    code = f" `{lines[own[-1] + 1]}`" if own[-1] + 1 < len(lines) else ""
    return f"{file.strip(chr(34))}:{line.removeprefix('line ')}{code}"


class Refusal(NotImplementedError):
    """An operator that cannot be lowered."""

    def __init__(self, node: fx.Node, why: str, instead: str) -> None:
        super().__init__(f"{operator_name(node)} at {place(node)} cannot be lowered: {why}; {instead}")
        self.node, self.why, self.instead = node, why, instead


def refuse(node: fx.Node, why: str, instead: str) -> Refusal:
    """The error for an operator that cannot be lowered."""
    return Refusal(node, why, instead)
