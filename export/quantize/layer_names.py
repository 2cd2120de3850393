"""Selects layers by name patterns, without torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase


def matching(patterns: Collection[str], names: Collection[str]) -> tuple[str, ...]:
    """The layers that the patterns match, in the order of `names`.

    A pattern names a layer (`blocks.0.project`), a module that contains layers (`blocks.0`), or has wildcards.
    Raises ValueError for a pattern that matches none.

    >>> matching(["blocks.0", "*.head"], ["stem", "blocks.0.first", "add in blocks.0", "blocks.1.head"])
    ('blocks.0.first', 'add in blocks.0', 'blocks.1.head')
    """
    for pattern in patterns:
        if not any(matches(pattern, name) for name in names):
            raise ValueError(unknown_layer(pattern, names))
    found = (name for name in names if any(matches(pattern, name) for pattern in patterns))
    return tuple(dict.fromkeys(found))


def unmatched(patterns: Collection[str], modules: Collection[str]) -> Iterator[tuple[int, str]]:
    """Yields place and message of every pattern that names none of the modules of a network.

    Operators in the `forward` of a module are known after lowering only; here the module alone must exist.
    """
    for place, pattern in enumerate(patterns):
        module = pattern.rpartition(" in ")[2].partition(" (")[0]
        if not any(matches(module, name) for name in modules):
            yield place, unknown_layer(pattern, modules)


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern matches a layer, or a module that the layer is in."""
    module = name.partition(" in ")[2].partition(" (")[0]
    return any(fnmatchcase(one, pattern) or fnmatchcase(one, f"{pattern}.*") for one in (name, module) if one)


def unknown_layer(given: str, names: Collection[str]) -> str:
    """The message for a name or pattern that matches no layer, with the nearest names."""
    known = list(dict.fromkeys(names))
    near = get_close_matches(given, known, n=3, cutoff=0.4) or known[:3]
    return f"no layer is named {given!r}; the nearest of {len(known)} names: {', '.join(near)}"
