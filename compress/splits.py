"""The splits of a data set: hold-out, leakage check and decoding."""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.clips.cache import ClipSet, UnreadableClips, open_clips
from benchmarks.clips.limits import USUAL
from benchmarks.clips.rows import SPLITS, UNLABELED, ClipRow
from compress.command.progress import bar
from compress.leakage import (
    Contents,
    contradiction_message,
    contradictions,
    leak_message,
    leaks,
    shared_files,
    shared_message,
)
from compress.sources.source import FilesConfig, SourceConfig
from models.spec import ClipSpec, VideoSpec


def hold_out(
    split: dict[str, list[ClipRow]],
    content: Contents,
    *,
    root: Path,
    fraction: float,
    seed: int,
    console: Console,
) -> dict[str, list[ClipRow]]:
    """Moves the training rows of some files to validation, the same share of every class (`stratified`).

    All clips of a file and of its copies stay together; unlabeled clips of held-out files are left out. Of equal
    candidates, those whose path, hashed with the seed, comes first are taken, independently of the location of the
    data set. A file outside the data set is hashed by content instead of path.
    """

    def order(path: Path) -> bytes:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else content[path]
        return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()

    copies: dict[str, list[Path]] = {}
    for path in sorted({row.path for row in split["train"]}, key=order):
        copies.setdefault(content[path], []).append(path)
    classes: dict[str, set[tuple[str, str]]] = {name: set() for name in copies}
    for row in split["train"]:
        classes[content[row.path]].update(row.labels.items())
    chosen = stratified(classes, sizes={name: len(same) for name, same in copies.items()}, fraction=fraction)
    held = {path for name in chosen for path in copies[name]}
    files = sum(map(len, copies.values()))
    if not held:
        raise ValueError(
            f"{root}: {files} training files are too few for a hold-out split, in which every class keeps one for "
            "training; add a split `validation`"
        )
    absent = len(set().union(*classes.values()) - set().union(*(classes[name] for name in chosen)))
    console.print(
        f"no split `validation`: {len(held)} of {files} training files ({fraction:.0%}) are held out for it"
        + (f", none with {absent} classes, which have few files" if absent else ""),
        markup=False,
    )
    unlabeled = [row for row in split[UNLABELED] if content[row.path] not in chosen]
    if len(unlabeled) < len(split[UNLABELED]):
        console.print(
            f"{len(split[UNLABELED]) - len(unlabeled)} unlabeled clips of these files are left out",
            markup=False,
        )
    return {
        UNLABELED: unlabeled,
        "train": [row for row in split["train"] if row.path not in held],
        "validation": [replace(row, split="validation") for row in split["train"] if row.path in held],
        "test": split["test"],
    }


def stratified(
    classes: Mapping[str, Iterable[tuple[str, str]]], *, sizes: Mapping[str, int], fraction: float
) -> list[str]:
    """The items to hold out: `fraction` of their total size, of every class as near to `fraction` as possible.

    `classes` are those of each item, which has several if its clips differ or the data have several label columns;
    every class keeps an item that is not held out. Items are taken greedily, by the mean of what is missing in
    their classes, the first of equal ones first; with a single class for each item this is the method of largest
    remainders. Source: Sechidis et al. 2011, "On the Stratification of Multi-label Data".
    """
    left = Counter(each for own in classes.values() for each in own)
    missing = {each: fraction * count for each, count in left.items()}

    def urgency(name: str) -> float:
        own = list(classes[name])
        return sum(missing[each] for each in own) / max(1, len(own))

    waiting = [(-urgency(name), place, name) for place, name in enumerate(classes)]
    heapq.heapify(waiting)
    chosen: list[str] = []
    wanted = math.ceil(fraction * sum(sizes.values()))
    while waiting and sum(sizes[name] for name in chosen) < wanted:
        before, place, name = heapq.heappop(waiting)
        now = -urgency(name)
        if now > before:  # what is missing in its classes has been taken since
            heapq.heappush(waiting, (now, place, name))
        elif all(left[each] > 1 for each in classes[name]):
            chosen.append(name)
            for each in classes[name]:
                left[each] -= 1
                missing[each] -= 1
    return chosen


def checked_rows(config: FilesConfig, rows: Sequence[ClipRow], content: Contents, *, root: Path) -> list[str]:
    """Notes on contradictory rows; ValueError for files and clips in two splits, unless that is allowed.

    Unlabeled clips count as training clips.
    """
    notes = []
    labelled = [row for row in rows if row.split != UNLABELED]
    rows = [replace(row, split="train") if row.split == UNLABELED else row for row in rows]
    same = shared_files(rows, content)
    if found := leaks(rows, content):
        message = leak_message(found, root=root)
        if config.leakage != "allow":
            raise ValueError(
                f"{root}: {message}\nfigures on training clips are meaningless: remove the clips from one of the "
                "splits, or allow them with `leakage: allow` in the section data"
            )
        notes.append(message)
    elif same:
        message = shared_message(same, root=root)
        if config.leakage == "refuse":
            raise ValueError(
                f"{root}: {message}\nclips of one file share speaker, place and light, and figures on them are too "
                "high: move all clips of a file to one split, or allow different spans of a file with `leakage: "
                "spans` in the section data"
            )
        notes.append(message)
    if found := contradictions(labelled, content):
        notes.append(contradiction_message(found, root=root))
    return notes


def open_splits(
    config: SourceConfig,
    split: dict[str, list[ClipRow]],
    spec: ClipSpec,
    *,
    margin: int,
    contents: Mapping[Path, str | None],
    cache: Path,
    workers: int,
    console: Console,
    also: Sequence[VideoSpec] = (),
) -> dict[str, ClipSet]:
    """The clips of all splits, decoded or read from the folder `cache` by the `contents` of their files.

    Those of `train` include the unlabeled ones, and have `margin` further frames before and after. `also` are
    further geometries of the video (`open_clips`).

    Raises `UnreadableClips` with the unreadable clips of all splits.
    """
    own = config if isinstance(config, FilesConfig) else None
    opened: dict[str, ClipSet] = {}
    unreadable: list[tuple[Path, str]] = []
    for name in SPLITS:
        rows = [*split[name], *(split[UNLABELED] if name == "train" else ())]
        with bar(console, f"decoding {name} clips", unit=" clips") as report:
            try:
                opened[name] = open_clips(
                    rows,
                    spec,
                    margin=margin if name == "train" else 0,
                    contents=contents,
                    cache=cache,
                    workers=workers,
                    unreadable="skip",
                    max_unreadable_share=1.0,
                    missing_audio=own.missing_audio if own else "refuse",
                    limits=own.limits.limits() if own else USUAL,
                    also=also,
                    progress=report,
                    notify=lambda sentence: say(console, sentence),
                )
                unreadable += opened[name].skipped
            except UnreadableClips as fault:  # all clips of the split
                unreadable += fault.found
    clips = sum(map(len, split.values()))
    if not unreadable:
        return opened
    if own is None or own.unreadable == "refuse" or len(opened) < len(SPLITS):
        raise UnreadableClips(unreadable, clips=clips)
    if len(unreadable) > own.max_unreadable_share * clips:
        raise UnreadableClips(unreadable, clips=clips, allowed_share=own.max_unreadable_share)
    return opened


def share_of(skipped: Sequence[tuple[Path, str]], rows: Sequence[ClipRow]) -> str:
    """Number and share of the excluded clips."""
    return f"{len(skipped)} of {len(rows)} clips ({len(skipped) / len(rows):.1%})"


def say(console: Console, sentence: str) -> None:
    """Prints a message without markup."""
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)
