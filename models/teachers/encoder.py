"""What an encoder of a teacher is, and how a recipe chooses one from a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, make_dataclass
from typing import Any, Literal

from torch import nn

from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A part of a teacher that recipes may name: `build(spec, options)` with an instance of `options`.

    What it builds turns one input into `N F` and says F in its attribute `features`.
    """

    build: Callable[[ClipSpec, Any], nn.Module]
    options: type


def choices(table: Mapping[str, Any]) -> dict[str, type]:
    """For every row the options that it takes, with the key `name` that says the row: what a recipe writes."""
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
