"""The interface of encoders of a teacher, and their selection in a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, make_dataclass
from typing import Any, Literal

from torch import nn

from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """An encoder for recipes: `build(spec, options)` with an instance of `options`.

    The module maps one input to `N F` and has the attribute `features`, F.
    """

    build: Callable[[ClipSpec, Any], nn.Module]
    options: type


def choices(table: Mapping[str, Any]) -> dict[str, type]:
    """The options of every row with a key `name` that selects the row, as in a recipe."""
    return {
        name: make_dataclass(
            name,
            [("name", Literal[name])],  # type: ignore[valid-type]
            bases=(row.options,),
            frozen=True,
            kw_only=True,
        )
        for name, row in table.items()
    }
