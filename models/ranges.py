"""Ranges of the options of networks, validated in a recipe before anything is built."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def within(default: float, least: float, most: float) -> Any:
    """A field of an options dataclass with values from `least` to `most`, inclusive.

    The dataclass itself does not validate it: pydantic reads the range from the field's metadata when it parses a
    recipe.
    """
    return field(default=default, metadata={"ge": least, "le": most})


def size_factor(default: float = 1.0) -> Any:
    """A factor for the number of channels or blocks."""
    return within(default, 0.01, 8.0)


def dropout_share(default: float) -> Any:
    """A dropout probability, below 1."""
    return within(default, 0.0, 0.95)
