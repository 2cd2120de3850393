"""Escapes user text in Markdown, so that it is never parsed as markup, HTML, links or table cells.

Follows CommonMark 0.31 and GitHub's extensions (tables, strikethrough, links without brackets).
"""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Undefined

_ALWAYS = re.compile(r"[\\`*\[\]<>|~]")
_UNDERSCORE = re.compile(r"(?<!\w)_|_(?!\w)")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_LINK = re.compile(r"://|(?<=\bwww)\.", flags=re.IGNORECASE)
_BLOCK = re.compile(r"^(\s*)(#{1,6}(?=\s|$)|[-+=]+(?=\s|$)|\d{1,9}(?=[.)](?:\s|$)))")
_BREAK = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def escaped(value: Any) -> str:
    """Escapes a value for Markdown on one line; `Markdown` is unchanged."""
    if isinstance(value, Undefined):
        return ""
    if isinstance(value, Markdown):
        return value
    text = _BREAK.sub(" ", str(value))
    text = _ALWAYS.sub(lambda found: "\\" + found[0], text)
    text = _UNDERSCORE.sub(r"\\_", text)
    text = _ENTITY.sub(r"\\&", text)
    text = _LINK.sub(lambda found: "\\" + found[0], text)
    # A number and a full stop start a list: there the stop is escaped, elsewhere the first character.
    return _BLOCK.sub(lambda found: _unblocked(found[1], found[2]), text)


def _unblocked(space: str, mark: str) -> str:
    return f"{space}{mark}\\" if mark.isdigit() else f"{space}\\{mark}"


def code(value: Any) -> Markdown:
    """A value as a code span, also inside a table."""
    text = _BREAK.sub(" ", str(value)).replace("|", "\\|")
    runs = [len(run) for run in re.findall("`+", text)]
    ticks = "`" * next(n for n in range(1, len(runs) + 2) if n not in runs)
    space = " " if text[:1] in ("`", " ") or text[-1:] in ("`", " ") else ""
    return Markdown(f"{ticks}{space}{text}{space}{ticks}")


def fenced(text: str, *, language: str) -> Markdown:
    """Text as a fenced code block, even if it contains fences."""
    longest = max((len(run) for run in re.findall("`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return Markdown(f"{fence}{language}\n{text.rstrip()}\n{fence}")
