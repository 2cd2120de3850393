"""Keys: hashes of everything that determines a result, which can report what has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

_SHOWN = 40
"""Longest value that is stored verbatim; longer ones are hashed."""
_WORDS = {"source": "the source of Pocketreel", "upstream": "its input"}
_SOURCE = "source."
"""Prefix of parts that are source files."""
_NAMED = 4
"""Number of changed parts named in a message."""


class Key(str):
    """Hex SHA-256 of named parts; `parts` has each of them, or its hash, as text."""

    parts: Mapping[str, str]

    @classmethod
    def of(cls, parts: Mapping[str, Any]) -> Key:
        """The key of named plain data."""
        key = cls(hashlib.sha256(_plain(parts).encode("utf-8", "surrogatepass")).hexdigest())
        key.parts = dict(_flat(parts))
        return key


def parts_of(key: str) -> dict[str, str]:
    """The parts of a key; a plain string has none."""
    return dict(getattr(key, "parts", {}))


def difference(earlier: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Describes the difference between the parts of two keys: `config.epochs changed (2, now 3)`."""
    names = [name for name in {**earlier, **now} if earlier.get(name) != now.get(name)]
    if not earlier or not names:
        return "its key changed"
    shown = [_change(name, earlier.get(name), now.get(name)) for name in names[:_NAMED]]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(shown)}{more} changed"


def _change(name: str, earlier: str | None, now: str | None) -> str:
    name = _WORDS.get(name, name).removeprefix(_SOURCE)
    if earlier is None:
        return f"{name} (new)"
    if now is None:
        return f"{name} (removed)"
    if earlier.startswith("sha256:") or now.startswith("sha256:"):
        return name
    return f"{name} ({earlier}, now {now})"


def _flat(parts: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in parts.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{name}.")
        else:
            text = _plain(value)
            long = len(text) > _SHOWN or (isinstance(value, str) and len(value) >= 32)
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
            yield f"{path}{name}", f"sha256:{digest}" if long else text


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
