"""The splits of a data set: hold-out, leakage check and decoding."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.clips.cache import ClipSet, UnreadableClips, open_clips
from benchmarks.clips.limits import USUAL
from benchmarks.clips.rows import SPLITS, ClipRow
from compress.command.progress import bar
from compress.leakage import Contents, contradiction_message, contradictions, leak_message, leaks
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
    """Moves the training rows of some files to validation: those whose path, hashed with the seed, comes first.

    All clips of a file and of its copies stay together, independently of the location of the data set. A file
    outside the data set is hashed by content instead of path.
    """

    def order(path: Path) -> bytes:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else content[path]
        return hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()

    files = sorted({row.path for row in split["train"]}, key=order)
    copies: dict[str, list[Path]] = {}
    for path in files:
        copies.setdefault(content[path], []).append(path)
    wanted, held = math.ceil(fraction * len(files)), set[Path]()
    for same in copies.values():
        if len(held) < wanted:
            held.update(same)
    if len(held) == len(files):
        raise ValueError(
            f"{root}: {len(files)} training files are too few for a hold-out split; add a split `validation`"
        )
    console.print(
        f"no split `validation`: {len(held)} of {len(files)} training files ({fraction:.0%}) are held out for it",
        markup=False,
    )
    return {
        "train": [row for row in split["train"] if row.path not in held],
        "validation": [replace(row, split="validation") for row in split["train"] if row.path in held],
        "test": split["test"],
    }


def checked_rows(config: FilesConfig, rows: Sequence[ClipRow], content: Contents, *, root: Path) -> list[str]:
    """Notes on contradictory rows; ValueError for clips in two splits, unless that is allowed."""
    notes = []
    if found := leaks(rows, content):
        message = leak_message(found, root=root)
        if config.leakage == "refuse":
            raise ValueError(
                f"{root}: {message}\nfigures on training clips are meaningless: remove the clips from one of the "
                "splits, or allow them with `leakage: allow` in the section data"
            )
        notes.append(message)
    if found := contradictions(rows, content):
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

    Training clips have `margin` further frames before and after. `also` are further geometries of the video
    (`open_clips`).

    Raises `UnreadableClips` with the unreadable clips of all splits.
    """
    own = config if isinstance(config, FilesConfig) else None
    opened: dict[str, ClipSet] = {}
    unreadable: list[tuple[Path, str]] = []
    for name in SPLITS:
        with bar(console, f"decoding {name} clips", unit=" clips") as report:
            try:
                opened[name] = open_clips(
                    split[name],
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
