"""Merges axes into four or fewer: adjacent axes that an operator treats alike become one.

The result does not depend on the number of clips: an axis of length 1 is merged like any other.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import combinations, pairwise, permutations

RANK = 4
"""Maximum rank in every runtime."""

Shape = tuple[int, ...]
Order = tuple[int, ...]


def around(shape: Sequence[int], axis: int) -> Shape:
    """The shape merged to at most four axes, the first of them before `axis`, which is the second.

    >>> around((2, 6, 8, 5, 5), 2)
    (12, 8, 5, 5)
    """
    rest = tuple(shape[axis + 1 :])
    if len(rest) > RANK - 2:
        rest = (rest[0], math.prod(rest[1:]))
    return (math.prod(shape[:axis]), shape[axis], *rest)


def runs(marks: Sequence[Hashable], rank: int = RANK) -> list[list[int]]:
    """Axes grouped into at most `rank` groups of adjacent axes with equal marks, or into as few as possible.

    The last axes are merged first, so that clips and channels stay separate if possible.

    >>> runs("aabbb")
    [[0], [1], [2], [3, 4]]
    >>> runs("ababab")
    [[0], [1], [2], [3], [4], [5]]
    """
    groups = [[axis] for axis in range(len(marks))]
    while len(groups) > rank:
        equal = [i for i, (one, other) in enumerate(pairwise(groups)) if marks[one[0]] == marks[other[0]]]
        if not equal:
            break
        at = equal[-1]
        groups[at : at + 2] = [groups[at] + groups[at + 1]]
    return groups


def merged(shape: Sequence[int], groups: Sequence[Sequence[int]]) -> Shape:
    """`shape` with each group of axes merged.

    >>> merged((2, 3, 4), [[0], [1, 2]])
    (2, 12)
    """
    return tuple(math.prod(shape[axis] for axis in group) for group in groups)


def exchanges(shape: Sequence[int], order: Sequence[int]) -> list[tuple[Shape, Order]]:
    """`x.permute(order)` as a chain of reshapes to at most four axes, each followed by a permutation.

    >>> exchanges((2, 3, 4, 5, 6), (0, 2, 1, 3, 4))
    [((2, 3, 4, 30), (0, 2, 1, 3))]
    >>> [order for _, order in exchanges((2, 3, 4, 5, 6), (0, 3, 1, 4, 2))]
    [(0, 2, 1), (0, 2, 1)]
    """
    steps = []
    blocks = _joined([(place, shape[axis]) for place, axis in sorted(_places(order), key=lambda p: p[1])])
    while len(blocks) > 1:
        pieces, turn = min(_moves(len(blocks)), key=lambda move: _blocks_left(blocks, *move))
        steps.append((tuple(math.prod(size for _, size in blocks[a:b]) for a, b in pieces), turn))
        blocks = _joined([block for piece in turn for block in blocks[slice(*pieces[piece])]])
    return steps


_Block = tuple[range, int]
"""Indices in the target order that are already adjacent, and their number of elements."""


def _places(order: Sequence[int]) -> list[tuple[range, int]]:
    return [(range(place, place + 1), axis) for place, axis in enumerate(order)]


def _joined(blocks: list[_Block]) -> list[_Block]:
    """Merges blocks that follow each other in the target order."""
    joined: list[_Block] = []
    for places, size in blocks:
        if joined and joined[-1][0].stop == places.start:
            joined[-1] = (range(joined[-1][0].start, places.stop), joined[-1][1] * size)
        else:
            joined.append((places, size))
    return joined


def _moves(count: int) -> list[tuple[list[tuple[int, int]], Order]]:
    """Every way to cut `count` blocks into up to four pieces and to permute these."""
    moves = []
    for pieces in range(2, min(count, RANK) + 1):
        for cuts in combinations(range(1, count), pieces - 1):
            spans = list(pairwise((0, *cuts, count)))
            moves += [(spans, turn) for turn in permutations(range(pieces))]
    return moves


def _blocks_left(blocks: list[_Block], pieces: list[tuple[int, int]], turn: Order) -> int:
    return len(_joined([block for piece in turn for block in blocks[slice(*pieces[piece])]]))
