"""Checks a plain value against a node of the JSON Schema, with the messages of the full check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from compress.recipe.wording import (
    MAPPING,
    Wrong,
    not_well_formed,
    out_of_range,
    wrong_length,
    wrong_number_of_entries,
    wrong_type,
)

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "integer": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "string": ((str,), "text"),
    "boolean": ((bool,), "true or false"),
    "array": ((list,), "a list"),
    "object": ((dict,), MAPPING),
    "null": ((type(None),), "null"),
}
"""Python types and descriptions of the types of a schema."""


def wrong_value(value: Any, node: Mapping[str, Any]) -> Wrong | None:
    """The fault of a value by the schema `node`; `None` if it is valid or the schema does not decide.

    Checks only the value itself, not the entries of a list or mapping.

    >>> wrong_value(0, {"type": "integer", "minimum": 1})
    Wrong(problem='out of range', given='0', allowed='at least 1')
    """
    if node.get("type") not in _TYPES:
        return None
    kinds, wanted = _TYPES[node["type"]]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return wrong_type(value, "a path" if node.get("format") == "path" else wanted)
    if isinstance(value, str):
        return _wrong_text(value, node)
    if isinstance(value, list):
        return _wrong_size(value, node, "minItems", "maxItems")
    if isinstance(value, dict):
        return _wrong_size(value, node, "minProperties", "maxProperties")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return _wrong_number(value, node) if is_number else None


def _wrong_number(value: Any, node: Mapping[str, Any]) -> Wrong | None:
    for key, is_beyond, words in (
        ("minimum", lambda limit: value < limit, "at least"),
        ("maximum", lambda limit: value > limit, "at most"),
        ("exclusiveMinimum", lambda limit: value <= limit, "more than"),
        ("exclusiveMaximum", lambda limit: value >= limit, "less than"),
    ):
        if key in node and is_beyond(node[key]):
            return out_of_range(value, words, node[key])
    return None


def _wrong_text(value: str, node: Mapping[str, Any]) -> Wrong | None:
    if len(value) < node.get("minLength", 0):
        return wrong_length(value, "least", node["minLength"])
    if len(value) > node.get("maxLength", len(value)):
        return wrong_length(value, "most", node["maxLength"])
    if "pattern" in node and not re.search(node["pattern"], value):
        return not_well_formed(value, node["pattern"])
    return None


def _wrong_size(
    value: list[Any] | dict[str, Any], node: Mapping[str, Any], least: str, most: str
) -> Wrong | None:
    if len(value) < node.get(least, 0):
        return wrong_number_of_entries(value, "least", node[least])
    if len(value) > node.get(most, len(value)):
        return wrong_number_of_entries(value, "most", node[most])
    return None
