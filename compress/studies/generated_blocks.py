"""Parts of a page that commands write: what stands between `<!-- generated: name -->` and `<!-- end -->`."""

from __future__ import annotations

import re
from pathlib import Path

from compress.folders.output import check_output_file


def block(text: str, name: str) -> str:
    """What the block of this name holds; nothing where the page has none."""
    found = _block(name).search(text)
    return found[2] if found else ""


def check_page(page: Path, name: str) -> None:
    """Finds out before the work whether a page can take a block of this name.

    Raises an OSError for a page that cannot be read or written to, and ValueError for one that is no file or has no
    such block.
    """
    check_output_file(page, option="--page")
    if not _block(name).search(page.read_text(encoding="utf-8")):
        raise ValueError(
            f"{page}: has no place for the table: write a line <!-- generated: {name} --> and, below it, one "
            "<!-- end -->"
        )


def with_block(text: str, name: str, content: str) -> str:
    """The page with `content`, whole lines, in its block of this name."""
    return _block(name).sub(lambda found: f"{found[1]}{content}{found[3]}", text)


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- generated: {name} -->\n)(.*?)(<!-- end -->)", re.DOTALL)
