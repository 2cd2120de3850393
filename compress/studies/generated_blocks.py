"""Generated blocks of a page, between `<!-- generated: name -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from pathlib import Path

from compress.folders.output import check_output_file


def block(text: str, name: str) -> str:
    """The content of the block `name`; empty if the page has none."""
    found = _block(name).search(text)
    return found[2] if found else ""


def check_page(page: Path, name: str) -> None:
    """Checks in advance that a page has a block `name`.

    Raises an OSError for a page that cannot be read or written, and ValueError for one that is not a file or has no
    such block.
    """
    check_output_file(page, option="--page")
    if not _block(name).search(page.read_text(encoding="utf-8")):
        raise ValueError(
            f"{page}: has no block for the table: add a line <!-- generated: {name} --> and, below it, a line "
            "<!-- end -->"
        )


def with_block(text: str, name: str, content: str) -> str:
    """Replaces the block `name` of the page by `content`, complete lines."""
    return _block(name).sub(lambda found: f"{found[1]}{content}{found[3]}", text)


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- generated: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)
