"""Renamed and moved keys of recipes. A recipe with an old key is refused with the new one.

Another renamed or moved key is one line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress.recipe.compose import Place, path_text

_MOVED = {
    f"{old}.{key}": new
    for old in ("stages.*.distill", "stages.*.prune", "stages.*.quantize", "distillation")
    for key, new in (
        ("temperature", "distillation.losses.kd.temperature"),
        ("label_weight", "distillation.label_weight"),
    )
    if f"{old}.{key}" != new
}

RENAMED: dict[str, str] = {
    **_MOVED,
    "distillation.losses.soft_targets": "distillation.losses.kd",
    "benchmark.device": "benchmark.devices",
    "stages.*.prune.macs_ratio": "stages.*.prune.macs",
    "stages.*.quantize.mode": "stages.*.quantize.method",
    "stages.*.prune.max_layer_ratio": "stages.*.prune.max_pruning_ratio",
}
"""Old place to new place; `*` stands for a list index, the same in both."""


_ALSO = {
    "distillation.losses.soft_targets": "; its weight is no longer multiplied by 1 - label_weight: "
    "with the default label_weight 0.1, the weight 1 is now 0.9",
    "benchmark.device": "; it is a list: [host]",
}
"""What has changed beside the name of a key, if its meaning is not the same."""


def new_place(place: Place) -> Place | None:
    """The current place of an old place; None for any other.

    >>> new_place(("stages", 1, "prune", "macs_ratio"))
    ('stages', 1, 'prune', 'macs')
    """
    new = RENAMED.get(_pattern(place))
    if new is None:
        return None
    numbers = iter(part for part in place if isinstance(part, int))
    return tuple(next(numbers) if part == "*" else part for part in new.split("."))


def renamed_to(place: Place) -> str | None:
    """The message for a renamed key with its new place; None for any other key."""
    new = new_place(place)
    if new is None:
        return None
    if new[:-1] == place[:-1]:
        return f"was renamed to {new[-1]}{_ALSO.get(_pattern(place), ', with the same meaning')}"
    return f"has moved to {path_text(new)}, where it applies to all stages"


def _pattern(place: Place) -> str:
    return path_text(tuple("*" if isinstance(part, int) else part for part in place))


def is_given_by_old_name(place: Place, beside: Mapping[str, Any]) -> bool:
    """Whether a missing key is given by its old name among the keys `beside` it."""
    return any(new_place((*place[:-1], key)) == place for key in beside)
