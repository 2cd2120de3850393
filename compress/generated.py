"""Parts of a page that commands write: what stands between `<!-- generated: name -->` and `<!-- end -->`."""

from __future__ import annotations

import re


def block(text: str, name: str) -> str:
    """What the block of this name holds; nothing where the page has none."""
    found = _block(name).search(text)
    return found[2] if found else ""


def with_block(text: str, name: str, content: str) -> str:
    """The page with `content`, whole lines, in its block of this name."""
    return _block(name).sub(lambda found: f"{found[1]}{content}{found[3]}", text)


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- generated: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)
