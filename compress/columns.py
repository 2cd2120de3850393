"""Classes, tags and vocabulary of a data set, from the columns of the training clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.clips.rows import ClipRow, listed
from benchmarks.clips.text import tags_in, vocabulary
from models.spec import LabelSpec, TextSpec


def label_specs(split: Mapping[str, Sequence[ClipRow]], *, root: Path) -> tuple[LabelSpec, ...]:
    """Every label column with the classes of the training clips, in alphabetical order.

    Raises `ValueError` for a column with one class, and for classes that occur only in other splits.
    """
    specs, faults = [], []
    for name in split["train"][0].labels:
        classes = {row.labels[name] for row in split["train"]}
        if len(classes) < 2:
            faults.append(f"label {name!r} has only the class {min(classes)!r} in split train; 2 are needed")
        for other in ("validation", "test"):
            unknown = sorted({row.labels[name] for row in split[other]} - classes)
            faults += [
                f"label {name!r}: class {each!r} is in split {other} but not in train" for each in unknown
            ]
        specs.append(LabelSpec(name=name, classes=tuple(sorted(classes))))
    if faults:
        raise ValueError(f"{root}: inconsistent classes\n{listed(faults)}")
    return tuple(specs)


def tag_specs(
    columns: Sequence[str], split: Mapping[str, Sequence[ClipRow]], *, separator: str, root: Path
) -> tuple[LabelSpec, ...]:
    """Every tag column with the tags of the training clips, in alphabetical order.

    Raises `ValueError` for a column without tags in train or test, and for tags that occur only in other splits.
    """
    specs, faults = [], []
    for name in columns:
        found = {
            each: {tag for row in rows for tag in tags_in(row.more[name], separator=separator)}
            for each, rows in split.items()
        }
        faults += [
            f"no clip of split {each} has a tag in column {name!r}"
            for each in ("train", "test")
            if not found[each]
        ]
        for other in ("validation", "test"):
            unknown = sorted(found[other] - found["train"])
            faults += [f"tags {name!r}: {tag!r} is in split {other} but not in train" for tag in unknown]
        specs.append(LabelSpec(name=name, classes=tuple(sorted(found["train"]))))
    if faults:
        raise ValueError(f"{root}: inconsistent tags\n{listed(faults)}")
    return tuple(specs)


def text_spec(train: Sequence[ClipRow], *, length: int, max_words: int, root: Path) -> TextSpec:
    """Tokenization with the vocabulary of the training clips; `ValueError` if they have no captions."""
    found = vocabulary((row.text for row in train), max_words=max_words)
    if not found:
        raise ValueError(f"{root}: the recipe uses captions (`text`), but no training clip has one")
    return TextSpec(length=length, vocabulary=found)
