"""What differs between runtimes when frames are written apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import fx

from export.apart.frames import Frames, Joined

if TYPE_CHECKING:
    from export.apart.walk import Walk


@dataclass(frozen=True, kw_only=True)
class Style:
    """How frames apart are written for one runtime."""

    rules: Mapping[Any, Callable[[Walk, fx.Node], Frames | Joined | fx.Node | None]]
    """Operator -> what writes it; one that gives None leaves the operator to be copied as a whole."""
    take_apart: Callable[..., Frames]
    """`take_apart(writer, whole, form, shape)`: the frames of a whole value, see `frames.take_apart`."""
    put_together: Callable[..., fx.Node]
    """`put_together(writer, value, form, *, name)`: the way back, see `frames.put_together`."""
    activated: Callable[[Walk, fx.Node, fx.Node], fx.Node]
    """`activated(walk, node, x)`: the function of one operand `node` applied to the frame `x`."""
    spread: Callable[[Walk, Any, tuple[int, ...]], Any]
    """`spread(walk, value, picture)`: an operand as it is to meet frames of shape `picture`."""
    finish: Callable[[fx.GraphModule], None]
    """Changes the finished graph in place."""
