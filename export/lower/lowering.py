"""What a rule may ask of the walk that it writes for."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, fx

from export.lower.volume import Form, Volume
from export.lower.writer import Writer


class Lowering(Protocol):
    """A walk over a captured graph, as its rules see it; `export.lower.program` has the walk itself."""

    writer: Writer
    """The new graph."""
    scaled: dict[Volume, tuple[Volume, Tensor, Tensor]]
    """Values that are another value times a scale plus a shift per channel."""

    def wanted(self, node: fx.Node) -> Form | None:
        """The form in which the nearest consumer of `node` with a preference takes it, if there is one."""

    def copy(self, node: fx.Node, args: Any, kwargs: Any | None = None) -> Any:
        """The operator of `node` as it is, weights trainable."""
