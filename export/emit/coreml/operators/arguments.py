"""Arguments of an operator: its inputs by MIL's names, as torch and Python values.

Floats are float32 tensors, integers int32 tensors, flags bool tensors, texts `str`, several values a tuple. An
optional input that the program omits is missing or None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Arguments = Mapping[str, Any]

Operator = Callable[[Arguments], Any]
"""Returns the result, or a tuple of results, of one MIL operator."""


def integers(given: Arguments, name: str, default: list[int]) -> list[int]:
    """The vector `name` as plain integers."""
    value = given.get(name)
    return default if value is None else [int(number) for number in value.reshape(-1).tolist()]


def number(given: Arguments, name: str, default: float) -> float:
    """The scalar `name` as a plain number."""
    value = given.get(name)
    return default if value is None else value.item()


def axis_of(given: Arguments, name: str = "axis", default: int = -1) -> int:
    """The scalar `name` as an axis, which may count from the end."""
    return int(number(given, name, default))


def flag(given: Arguments, name: str, default: bool = False) -> bool:
    """The scalar `name` as a bool."""
    return bool(number(given, name, default))


def text(given: Arguments, name: str, default: str) -> str:
    """The text `name`."""
    value = given.get(name)
    return default if value is None else value
