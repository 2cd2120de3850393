"""Ranges of the options of networks, which a recipe is checked against before anything is built."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def within(default: float, least: float, most: float) -> Any:
    """A field of an options dataclass whose value lies between `least` and `most`, both included.

    The dataclass itself does not check it: pydantic, which reads recipes into options, finds the range in the
    field's metadata.
    """
    return field(default=default, metadata={"ge": least, "le": most})


def size_factor(default: float = 1.0) -> Any:
    """A factor for the number of channels or blocks."""
    return within(default, 0.01, 8.0)


def dropout_share(default: float) -> Any:
    """A share of features that is zeroed while training; not all of them."""
    return within(default, 0.0, 0.95)
