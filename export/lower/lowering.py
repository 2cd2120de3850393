"""The interface between rules and the lowering that runs them."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, fx

from export.lower.volume import Form, Volume
from export.lower.writer import Writer


class Lowering(Protocol):
    """The lowering of a captured graph, as its rules use it; `export.lower.program` implements it."""

    writer: Writer
    """The new graph."""
    scaled: dict[Volume, tuple[Volume, Tensor, Tensor]]
    """Values that are another value times a scale plus a shift per channel."""

    def wanted(self, node: fx.Node) -> Form | None:
        """The form that the nearest consumer of `node` with a preference takes, if there is one."""

    def copy(self, node: fx.Node, args: Any, kwargs: Any | None = None) -> Any:
        """The operator of `node` unchanged, weights trainable."""
