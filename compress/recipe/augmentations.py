"""Checks of the augmentations of a recipe against its clips, networks and classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from compress.recipe.source import Place, path_text
from compress.training import TrainConfig

if TYPE_CHECKING:
    from models.spec import ClipSpec

_SIDED = re.compile(r"(?<![a-z])(left|right|anticlockwise|counterclockwise|clockwise)(?!eous)", re.IGNORECASE)
"""Directions that a mirror exchanges, at the beginning of a word: `move_left`, `LeftTurn`, `rightwards`."""

Trainings = list[tuple[Place, TrainConfig]]
Found = Iterator[tuple[Place, str, dict[str, str | None]]]


def trainings_of(teachers: Iterable[tuple[Place, Any]], stages: Iterable[Any]) -> Trainings:
    """The training settings of a recipe with their places; `stages` may have None for invalid entries."""
    found: Trainings = []
    for place, teacher in teachers:
        if isinstance(getattr(teacher, "train", None), TrainConfig):
            found.append(((*place, "train"), teacher.train))
    for index, entry in enumerate(stages):
        if entry is not None and entry.trains and isinstance(entry.config, TrainConfig):
            found.append((("stages", index, entry.verb), entry.config))
    return found


def sided(names: Iterable[str]) -> list[str]:
    """The names with a direction that a mirror exchanges.

    >>> sided(["move_left", "TurnRight", "bright", "place rightwards", "leftover", "righteous"])
    ['move_left', 'TurnRight', 'place rightwards', 'leftover']
    """
    return [name for name in names if _SIDED.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))]


def flips(trainings: Trainings, classes: Iterable[tuple[str, Iterable[str]]]) -> Found:
    """Training clips with left and right among their classes are not mirrored; `classes` are those by column."""
    for column, names in classes:
        given = sided(names)
        for place, config in trainings:
            if given and config.augmentation.horizontal_flip is True:
                problem = (
                    f"mirrors clips, but classes of {column} have a side: {', '.join(given[:4])}; remove it, or "
                    "give force if the mirrored clips keep their classes"
                )
                yield (*place, "augmentation", "horizontal_flip"), problem, {"given": "true"}


def refuse_flips(trainings: Trainings, spec: ClipSpec) -> None:
    """Raises `ValueError` for a training that mirrors clips whose classes, now known, have a side."""
    columns = ((label.name, label.classes) for label in (*spec.labels, *spec.tags))
    faults = [f"{path_text(place)} {problem}" for place, problem, _ in flips(trainings, columns)]
    if faults:
        raise ValueError("\n".join(faults))


def mixes(trainings: Trainings, inputs: Mapping[Place, tuple[str, ...]]) -> Found:
    """Clips are mixed for networks whose inputs can be mixed; `inputs` are those of the student and the teachers by
    their places."""
    for place, config in trainings:
        who: Place = ("student",) if place[0] == "stages" else place[:-1]
        online = config.views == "fresh" and who == ("student",)
        for key, taken in inputs.items():
            if not config.augmentation.mixes or (key != who and not online):
                continue
            name = f"the {key[0]}" if len(key) == 1 else path_text(key)
            # Cached outputs of a teacher are mixed instead of its clips.
            instead = (
                "omit it" if key == who else "omit it, or give a number of views, whose outputs are cached"
            )
            for kind in ("mixup", "cutmix"):
                if getattr(config.augmentation, kind) is None:
                    continue
                at: Place = (*place, "augmentation", kind)
                if "text" in taken:
                    problem = f"mixes clips, but {name} takes text, which cannot be mixed; {instead}"
                    yield at, problem, {"given": f"inputs {', '.join(taken)}"}
                elif kind == "cutmix" and "clip" not in taken:
                    problem = f"replaces a rectangle of the video, but {name} takes none; use mixup"
                    yield at, problem, {"given": f"inputs {', '.join(taken)}"}


def masks(trainings: Trainings, *, has_audio: bool) -> Found:
    """Audio is masked where there is some."""
    for place, config in trainings:
        for key in ("time_masks", "frequency_masks"):
            if getattr(config.augmentation.audio, key) and not has_audio:
                problem = (
                    "masks audio, but the clips have none; add the key audio to the section clip, or omit it"
                )
                yield (*place, "augmentation", "audio", key), problem, {}
