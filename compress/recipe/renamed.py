"""Keys that recipes once had: the one table of what they are called now. A recipe that has one is refused with it.

A new line is all that another renamed or moved key takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress.recipe.compose import Place, path_text

_MOVED = {
    f"stages.*.{verb}.{key}": f"distillation.{key}"
    for verb in ("distill", "prune", "quantize")
    for key in ("temperature", "label_weight")
}

RENAMED: dict[str, str] = {
    **_MOVED,
    "stages.*.prune.macs": "stages.*.prune.macs_ratio",
    "stages.*.prune.max_layer_ratio": "stages.*.prune.max_pruning_ratio",
}
"""Old place to new place; `*` stands for a position in a list, the same one in both."""


def new_place(place: Place) -> Place | None:
    """Where what once stood at a place stands now; None for a place that never was one of ours.

    >>> new_place(("stages", 1, "prune", "macs"))
    ('stages', 1, 'prune', 'macs_ratio')
    """
    new = RENAMED.get(path_text(tuple("*" if isinstance(part, int) else part for part in place)))
    if new is None:
        return None
    numbers = iter(part for part in place if isinstance(part, int))
    return tuple(next(numbers) if part == "*" else part for part in new.split("."))


def renamed_to(place: Place) -> str | None:
    """The problem of a key that is called otherwise now, which names its new place; None for any other key."""
    new = new_place(place)
    if new is None:
        return None
    if new[:-1] == place[:-1]:
        return f"is called {new[-1]} now, with the same meaning"
    return f"has moved to {path_text(new)}, where it stands once for all stages"


def is_given_by_old_name(place: Place, beside: Mapping[str, Any]) -> bool:
    """Whether a key that is missing at a place is there under its old name, among those `beside` it."""
    return any(new_place((*place[:-1], key)) == place for key in beside)
