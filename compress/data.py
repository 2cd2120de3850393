"""The clips of a run: listed by their source, deduplicated by content, split and decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from rich.console import Console

from benchmarks.clips.cache import ClipSet, by_reason
from benchmarks.clips.rows import SPLITS, UNLABELED, ClipRow, listed
from compress.clip import ClipConfig
from compress.columns import label_specs, tag_specs, text_spec
from compress.command.progress import bar
from compress.folders.contents import INDEX, contents_of
from compress.leakage import content_ids
from compress.sources import SOURCES
from compress.sources.source import TAG_SEPARATOR, FilesConfig, Reading, SourceConfig
from compress.splits import checked_rows, hold_out, open_splits, share_of
from models.spec import AudioSpec, ClipSpec, VideoSpec

DECODED = "decoded"
"""Cache folder of decoded clips and of the index of file hashes."""

if TYPE_CHECKING:
    DataConfig = SourceConfig
else:
    DataConfig = Annotated[
        reduce(or_, (row.config for row in SOURCES.values())), Field(discriminator="source")
    ]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Decoded clips of all splits and their common spec."""

    spec: ClipSpec
    train: ClipSet
    validation: ClipSet
    test: ClipSet
    taught: ClipSet
    """The training clips, followed by the unlabeled ones if there are any, whose labels are -1."""
    skipped: list[tuple[Path, str]]
    """Unreadable clips that were excluded, with the reason."""
    notes: tuple[str, ...] = ()
    """Notes on the clips for the report."""
    tag_separator: str = TAG_SEPARATOR


@dataclass(frozen=True, kw_only=True)
class ListedData:
    """Clips of all splits before decoding, and their spec."""

    root: Path
    """The folder of the files."""
    split: dict[str, list[ClipRow]]
    spec: ClipSpec
    notes: list[str]
    contents: dict[Path, str | None]
    """SHA-256 of each file; None for an unreadable one."""

    @property
    def rows(self) -> list[ClipRow]:
        """The rows of all splits."""
        return [row for rows in self.split.values() for row in rows]


def open_data(
    config: SourceConfig,
    clip: ClipConfig,
    *,
    cache: Path,
    workers: int,
    seed: int,
    console: Console,
    before_decoding: Callable[[ClipSpec], object] = lambda spec: None,
    also: Sequence[VideoSpec] = (),
) -> Data:
    """All splits, decoded or from `cache`, with classes and vocabulary from the training clips.

    `also` are the geometries of teachers that see other frames or pixels than `clip` gives.
    `before_decoding` is called with the spec as soon as it is known; its exceptions are passed on. `console` gets
    progress bars, counts, held-out files, excluded files and remarks on files.

    Raises ValueError for unreadable clips, those of all splits together, and what `list_data` raises.
    """
    listing = list_data(config, clip, cache=cache, workers=workers, seed=seed, console=console)
    spec, notes = listing.spec, listing.notes
    before_decoding(spec)
    opened = open_splits(
        config,
        listing.split,
        spec,
        margin=clip.margin,
        contents=listing.contents,
        cache=cache / DECODED,
        workers=workers,
        console=console,
        also=also,
    )
    skipped = [entry for clips in opened.values() for entry in clips.skipped]
    if skipped:
        notes.append(
            f"{share_of(skipped, listing.rows)} cannot be read and are excluded\n{listed(by_reason(skipped))}"
        )
    taught = opened["train"]
    labelled = [k for k, row in enumerate(taught.rows) if row.split != UNLABELED]
    if len(labelled) < len(taught):
        # Only then: `subset` is another object, and equal clips are to have equal keys.
        opened["train"] = taught.subset(labelled)
        opened[UNLABELED] = taught.subset(range(len(labelled), len(taught)))
    _print_summary(opened, spec=spec, notes=notes, console=console)
    return Data(
        spec=spec,
        train=opened["train"],
        validation=opened["validation"],
        test=opened["test"],
        taught=taught,
        skipped=skipped,
        notes=tuple(notes),
        tag_separator=config.tag_separator,
    )


def list_data(
    config: SourceConfig,
    clip: ClipConfig,
    *,
    cache: Path,
    workers: int,
    seed: int,
    console: Console,
) -> ListedData:
    """Lists the clips of all splits without decoding; generated clips are stored in `cache`.

    `seed` selects the files held out for validation if the data has no such split.

    Raises ValueError for missing splits or classes and for clips that are in two splits, and what the source's
    `read` raises.
    """
    reading = Reading(cache=cache, workers=workers, console=console)
    found = SOURCES[config.source].read(config, reading)
    rows, root = found.rows, found.root
    split = {name: [row for row in rows if row.split == name] for name in (*SPLITS, UNLABELED)}
    notes: list[str] = []
    decoded = cache / DECODED
    with bar(console, "hashing clips", unit=" files") as report:
        contents = contents_of((row.path for row in rows), index=decoded / INDEX, report=report)
    required = ("train", "test") if isinstance(config, FilesConfig) else SPLITS
    absent = [name for name in required if not split[name]]
    if absent:
        raise ValueError(f"{root}: no clips in split {', '.join(absent)}; train and test are required")
    if isinstance(config, FilesConfig):
        content = content_ids(contents)
        notes = checked_rows(config, rows, content, root=root)
        if not split["validation"]:
            split = hold_out(
                split, content, root=root, fraction=config.validation_fraction, seed=seed, console=console
            )
    spec = ClipSpec(
        video=clip.video_spec(),
        audio=AudioSpec(**clip.audio.model_dump()) if clip.audio else None,
        text=text_spec(split["train"], **clip.text.model_dump(), root=root) if clip.text else None,
        labels=label_specs(split, root=root),
        tags=tag_specs(config.tags, split, separator=config.tag_separator, root=root),
    )
    return ListedData(root=root, split=split, spec=spec, notes=notes, contents=contents)


def spec_before_clips(
    config: SourceConfig, clip: ClipConfig, *, inputs: Sequence[str] | None
) -> ClipSpec | None:
    """The spec of clips that may not exist yet, with these inputs; by default with all.

    `None` for sources whose classes come from the clips, and with captions among the inputs, whose vocabulary comes
    from the clips.
    """
    labels = SOURCES[config.source].labels
    if labels is None or (clip.text is not None and (inputs is None or "text" in inputs)):
        return None
    spec = ClipSpec(
        video=clip.video_spec(),
        audio=AudioSpec(**clip.audio.model_dump()) if clip.audio else None,
        labels=labels(config),
    )
    return spec if inputs is None else spec.only(tuple(inputs))


def _print_summary(
    opened: dict[str, ClipSet], *, spec: ClipSpec, notes: Sequence[str], console: Console
) -> None:
    """Prints the number of clips and classes, excluded files, and remarks on files."""
    counts = ", ".join(f"{len(clips)} {name}" for name, clips in opened.items())
    classes = ", ".join(
        [f"{len(label.classes)} classes of {label.name}" for label in spec.labels]
        + [f"{len(column.classes)} {column.name}" for column in spec.tags]
    )
    console.print(f"clips: {counts}; {classes}", markup=False)
    for note in notes:
        console.print(f"warning: {note}", style="yellow", markup=False)
    odd = Counter(text for clips in opened.values() for _, text in clips.notes)
    for text, count in odd.items():
        console.print(f"note: {count} file{'s' * (count > 1)}: {text}", markup=False)
