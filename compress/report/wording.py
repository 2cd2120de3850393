"""Words, lists and names of a report as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from compress import figures

LONGEST_NAME = 40
"""Characters of a name of a user's in a table; longer ones are shortened in the middle."""

_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""Control characters, also those that reverse the direction of text."""


def short(name: Any, length: int = LONGEST_NAME) -> str:
    """A name of a user's on one line, shortened in the middle, with control characters as `\\u202e`."""
    text = _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", str(name)) or "(empty)"
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-(length // 2 - 1) :]}"


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Iterable[str], *, most: int = 4) -> str:
    """`a, b, c and 3 more`."""
    names = list(names)
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"


def per_label(value: Any, show: Any = figures.percent) -> str:
    """A figure, or with several label columns `word 88.0 %, slot 80.0 %`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{short(label)} {show(one)}" for label, one in value.items())
    return str(show(value))


def of_label(value: Any, label: str) -> Any:
    """The figure of a label column; `value` is a figure, or a mapping with several label columns."""
    return value.get(label) if isinstance(value, Mapping) else value


def mean_share(value: Any) -> float | None:
    """Top-1, or its mean over several label columns; None if any is missing."""
    shares = list(value.values()) if isinstance(value, Mapping) else [value]
    return sum(shares) / len(shares) if shares and all(map(figures.is_measured, shares)) else None


def in_words(key: str) -> str:
    """A key of the report as text."""
    words = {"load_1min": "load average over 1 min", "int8_instructions": "int8 instructions"}
    if key in words:
        return words[key]
    return key.removesuffix("_bytes").replace("top1", "top-1").replace("macs", "operations").replace("_", " ")


def significance(p: float) -> str:
    """A p-value as text."""
    return "p < 0.001" if p < 0.001 else f"p {p:.2g}"


def title_of_stage(stage: Mapping[str, Any]) -> str:
    """The verb of a stage, and the scheme of one that quantizes."""
    scheme = stage.get("config", {}).get("scheme")
    return f"{stage['name']} {scheme}" if scheme else str(stage["name"])
