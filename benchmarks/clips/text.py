"""Tokenizes captions as defined by `TextSpec`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from models.spec import PAD_TOKEN, UNKNOWN_TOKEN, TextSpec

_WORD = re.compile(r"(?:[^\W_]|')+")
"""A run of letters, digits (of any script) and apostrophes."""


def words(caption: str) -> list[str]:
    """The words of a caption in lower case.

    >>> words("Don't move LEFT, go_up 2x!")
    ["don't", 'move', 'left', 'go', 'up', '2x']
    """
    return _WORD.findall(caption.lower())


def tags_in(cell: str, *, separator: str) -> list[str]:
    """The tags in a cell, stripped of spaces; none in an empty cell.

    >>> tags_in("left; round;", separator=";")
    ['left', 'round']
    """
    return [tag.strip() for tag in cell.split(separator) if tag.strip()]


def vocabulary(captions: Iterable[str], *, max_words: int) -> tuple[str, ...]:
    """The most frequent words, at most `max_words`, in descending order; ties in alphabetical order.

    >>> vocabulary(["b a b", "c"], max_words=2)
    ('b', 'a')
    """
    counts = Counter(word for caption in captions for word in words(caption))
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:max_words])


def tokens(captions: Sequence[str], spec: TextSpec) -> np.ndarray:
    """Token ids of each caption, int64 `N L`: truncated or padded to `spec.length`."""
    ids = {word: number for number, word in enumerate(spec.vocabulary, start=UNKNOWN_TOKEN + 1)}
    found = np.full((len(captions), spec.length), PAD_TOKEN, np.int64)
    for row, caption in zip(found, captions, strict=True):
        known = [ids.get(word, UNKNOWN_TOKEN) for word in words(caption)[: spec.length]]
        row[: len(known)] = known
    return found
