"""Faults of a recipe with their remedies: `Fault` and `RecipeError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of a recipe: its place, the given value, the allowed values, the remedy."""

    path: str
    """Place in the YAML, such as `stages.1.prune.macs`; empty for the whole file."""
    problem: str
    given: str | None = None
    allowed: str | None = None
    nearest: str | None = None
    """The valid spelling closest to what was given."""
    line: int | None = None
    """Line of the file, from 1; None for values of `--set`."""

    def __str__(self) -> str:
        """One line: `stages.1.prune.mac (line 14): unknown key; did you mean 'macs'? allowed: ...`."""
        where = self.path or "the recipe"
        if self.line is not None:
            where += f" (line {self.line})"
        text = f"{where}: {self.problem}"
        if self.given is not None:
            text += f"; given: {self.given}"
        if self.nearest is not None:
            text += f"; did you mean {self.nearest!r}?"
        if self.allowed is not None:
            text += f"{';' if self.nearest is None else ''} allowed: {self.allowed}"
        return text


MAX_SHOWN = 50
"""Largest number of faults in a message."""


class RecipeError(ValueError):
    """An invalid recipe with all its faults; commands exit with code 2."""

    def __init__(self, faults: Sequence[Fault], *, source: str) -> None:
        self.faults = tuple(faults)
        self.source = source
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = [f"{source}: {count}", *(f"  {fault}" for fault in self.faults[:MAX_SHOWN])]
        if len(self.faults) > MAX_SHOWN:
            lines.append(f"  and {len(self.faults) - MAX_SHOWN} more")
        super().__init__("\n".join(lines))


_LONGEST_WORD = 100
"""Largest length of compared words; longer words are not misspellings, and comparing them is slow."""


def nearest(given: str, allowed: Iterable[str]) -> str | None:
    """The word of `allowed` closest to `given`; None if nothing is close."""
    if len(given) > _LONGEST_WORD:
        return None
    by_lower = {word.lower(): word for word in allowed}
    close = difflib.get_close_matches(given.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None


def listed(words: Iterable[str]) -> str:
    """The words separated by commas: `a, b, c`."""
    return ", ".join(words)
