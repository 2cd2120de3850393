"""Where clips come from: a generated data set, a manifest, or a folder tree; and how they are prepared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from rich.console import Console

from benchmarks.clips.cache import MAX_UNREADABLE_SHARE, ClipSet, by_reason
from benchmarks.clips.rows import SPLITS, ClipRow, listed, read_folder, read_manifest
from benchmarks.clips.sound import mel_triangles
from compress.budgets import LimitsConfig
from compress.columns import label_specs, tag_specs, text_spec
from compress.console import bar
from compress.folders.contents import INDEX, contents_of
from compress.leakage import told_apart
from compress.limits import Cell, FilePath, Word
from compress.splits import checked_rows, hold_out, open_splits, say, share_of
from compress.store import one_at_a_time, stored
from compress.synthetic import (
    SYNTHETIC_FILES,
    TAG_SEPARATOR,
    SyntheticData,
    synthetic_key,
    synthetic_labels,
    write_synthetic,
)
from models.spec import AudioSpec, ClipSpec, VideoSpec

__all__ = ["ClipConfig", "Data", "DataConfig", "FolderData", "ManifestData", "SyntheticData", "open_data"]


DECODED = "decoded"
"""Folder in the cache that holds decoded clips, and the index of the files that were hashed."""


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Files(_Config):
    """What the sources of the user's own files have in common."""

    validation_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of the training files held out when the data has no split `validation`.",
    )
    unreadable: Literal["refuse", "skip"] = Field(
        default="refuse",
        description="Stop at files that cannot be read, or leave their clips out and say so.",
    )
    missing_audio: Literal["refuse", "silence"] = Field(
        default="refuse",
        description="What clips without sound are, where sound is wanted: unreadable, or silent.",
    )
    max_unreadable_share: float = Field(
        default=MAX_UNREADABLE_SHARE,
        ge=0,
        le=1,
        description="Share of all clips that `unreadable: skip` may leave out; above it the run stops.",
    )
    leakage: Literal["refuse", "allow"] = Field(
        default="refuse",
        description="Stop at clips that are in two splits at once, by path, link, content or an overlapping span, "
        "or say so and go on.",
    )
    limits: LimitsConfig = Field(
        default_factory=LimitsConfig, description="What a file may ask for before it counts as unreadable."
    )


_Filter = dict[Word, Annotated[list[Cell], Field(max_length=10_000)]]


class ManifestData(_Files):
    """A CSV with columns path, split, the label columns and, if there are, text, start_s, end_s."""

    source: Literal["manifest"]
    manifest: FilePath = Field(description="The CSV; its paths are relative to its folder.")
    labels: list[Word] = Field(
        min_length=1, max_length=32, description="Label columns; the network gets one head for each."
    )
    where: _Filter = Field(
        default_factory=dict,
        max_length=32,
        description="Keep only rows whose column has one of these values.",
    )
    exclude: _Filter = Field(
        default_factory=dict,
        max_length=32,
        description="Leave out rows whose column has one of these values.",
    )
    tags: list[Word] = Field(
        default=[],
        max_length=32,
        description="Columns of any number of classes a clip, for teachers that learn them.",
    )
    tag_separator: str = Field(
        default=TAG_SEPARATOR,
        min_length=1,
        max_length=16,
        description="What stands between the tags of a clip.",
    )
    text: Word | Annotated[list[Word], Field(min_length=1, max_length=32)] | None = Field(
        default="text",
        description="Column of the captions, or several (caption, title, subtitles, ...) whose texts are joined in "
        "this order; null withholds them.",
    )
    text_separator: str = Field(
        default=" ", max_length=16, description="What stands between joined texts; empty ones are left out."
    )
    pad_s: float = Field(
        default=0.0,
        ge=0,
        le=3_600,
        description="Widens start_s..end_s on both sides, as far as the file reaches.",
    )

    @model_validator(mode="after")
    def _labels_once(self) -> Self:
        for kind, columns in (("labels", self.labels), ("labels and tags", [*self.labels, *self.tags])):
            if len(set(columns)) < len(columns):
                raise ValueError(f"{kind} name a column twice: {', '.join(columns)}")
        return self


class FolderData(_Files):
    """Files as root/split/class/clip.mp4; the label column is called `class`."""

    labels: ClassVar[list[str]] = ["class"]
    tags: ClassVar[list[str]] = []
    tag_separator: ClassVar[str] = TAG_SEPARATOR
    source: Literal["folder"]
    root: FilePath = Field(description="Folder that holds train/, test/ and, if there is one, validation/.")


DataConfig = Annotated[SyntheticData | ManifestData | FolderData, Field(discriminator="source")]


class AudioConfig(_Config):
    """Sound as a log-mel picture; see `AudioSpec`."""

    sample_rate_hz: int = Field(
        default=16_000, ge=1_000, le=192_000, description="Sample rate to which the sound is brought, mono."
    )
    window: int = Field(default=400, ge=16, le=65_536, description="Samples of one window.")
    hop: int = Field(default=160, ge=1, le=65_536, description="Samples from one window to the next.")
    mels: int = Field(default=40, ge=1, le=512, description="Mel bands.")
    bins: int = Field(default=64, ge=1, le=4_096, description="Time bins over the whole clip.")
    mean: float = Field(
        default=-4.0, ge=-1_000, le=1_000, description="Networks are given (x - mean) / std of the log-mel."
    )
    std: float = Field(default=4.0, ge=1e-3, le=1_000, description="See `mean`.")

    @model_validator(mode="after")
    def _bands_exist(self) -> Self:
        mel_triangles(sample_rate_hz=self.sample_rate_hz, window=self.window, mels=self.mels)
        return self


class TextConfig(_Config):
    """Captions as tokens; the vocabulary is taken from the training clips."""

    length: int = Field(default=16, ge=1, le=4_096, description="Tokens of a caption; longer ones are cut.")
    max_words: int = Field(default=1_000, ge=1, le=1_000_000, description="Most words in the vocabulary.")


_Mean = Annotated[float, Field(ge=-1_000, le=1_000)]
_Std = Annotated[float, Field(ge=1e-3, le=1_000)]


class ClipConfig(_Config):
    """What of a clip goes into networks."""

    frames: int = Field(default=8, ge=1, le=1_024, description="Frames of a clip.")
    size: int = Field(default=64, ge=8, le=1_024, description="Pixels of a frame's side.")
    resize: int | None = Field(
        default=None,
        ge=8,
        le=4_096,
        description="Short side before cutting `size` out; default: size * 1.125, rounded.",
    )
    sampling: Literal["uniform", "strided"] = Field(
        default="uniform",
        description="`uniform`: the middles of equal parts of the clip; `strided`: every `stride`-th frame, around "
        "the clip's middle.",
    )
    stride: int = Field(
        default=1, ge=1, le=10_000, description="Source frames from one frame to the next, for `strided`."
    )
    mean: tuple[_Mean, _Mean, _Mean] = Field(
        default=(0.5, 0.5, 0.5),
        description="Networks themselves compute (x - mean) / std of each colour, RGB in 0..1.",
    )
    std: tuple[_Std, _Std, _Std] = Field(default=(0.5, 0.5, 0.5), description="See `mean`.")
    audio: AudioConfig | None = None
    text: TextConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize {self.resize} is smaller than size {self.size}: nothing to cut out")
        if self.sampling == "uniform" and self.stride != 1:
            raise ValueError(f"stride {self.stride} has no effect with sampling `uniform`; use `strided`")
        return self

    def video_spec(self) -> VideoSpec:
        """The picture's part of a `ClipSpec`."""
        resize = round(self.size * 1.125) if self.resize is None else self.resize
        return VideoSpec(
            frames=self.frames,
            size=self.size,
            resize=resize,
            sampling=self.sampling,
            stride=self.stride,
            mean=self.mean,
            std=self.std,
        )


@dataclass(frozen=True, kw_only=True)
class Data:
    """Decoded clips of all splits, and the spec they share."""

    spec: ClipSpec
    train: ClipSet
    validation: ClipSet
    test: ClipSet
    skipped: list[tuple[Path, str]]
    """Clips left out because they cannot be read, with the reason."""
    notes: tuple[str, ...] = ()
    """What a reader of the figures has to know about the clips."""
    tag_separator: str = TAG_SEPARATOR


@dataclass(frozen=True, kw_only=True)
class ListedData:
    """Clips of all splits before any is decoded, and the spec that they will have."""

    root: Path
    """The folder that their files lie in."""
    split: dict[str, list[ClipRow]]
    spec: ClipSpec
    notes: list[str]
    contents: dict[Path, str | None]
    """SHA-256 of each file; None for one that cannot be read."""

    @property
    def rows(self) -> list[ClipRow]:
        """Those of all splits."""
        return [row for rows in self.split.values() for row in rows]


def open_data(
    config: SyntheticData | ManifestData | FolderData,
    clip: ClipConfig,
    *,
    cache: Path,
    workers: int,
    seed: int,
    console: Console,
    before_decoding: Callable[[ClipSpec], object] = lambda spec: None,
) -> Data:
    """All splits, decoded or from `cache`, with classes and vocabulary taken from the training clips.

    `before_decoding` is called with the spec as soon as it is known; what it raises ends this. `console` gets
    progress bars and what a user should know: counts, held-out files, files left out, files that are odd.

    Raises ValueError for clips that cannot be read, those of all splits together, and what `list_data` raises.
    """
    listing = list_data(config, clip, cache=cache, workers=workers, seed=seed, console=console)
    spec, notes = listing.spec, listing.notes
    before_decoding(spec)
    opened = open_splits(
        config,
        listing.split,
        spec,
        contents=listing.contents,
        cache=cache / DECODED,
        workers=workers,
        console=console,
    )
    skipped = [entry for clips in opened.values() for entry in clips.skipped]
    if skipped:
        notes.append(
            f"{share_of(skipped, listing.rows)} cannot be read and are left out\n{listed(by_reason(skipped))}"
        )
    _tell(opened, spec=spec, notes=notes, console=console)
    return Data(
        spec=spec,
        train=opened["train"],
        validation=opened["validation"],
        test=opened["test"],
        skipped=skipped,
        notes=tuple(notes),
        tag_separator=config.tag_separator,
    )


def list_data(
    config: SyntheticData | ManifestData | FolderData,
    clip: ClipConfig,
    *,
    cache: Path,
    workers: int,
    seed: int,
    console: Console,
) -> ListedData:
    """The clips of all splits, none of them decoded; synthetic ones are written if they are not in `cache`.

    `seed` chooses the files held out for validation when the data has no such split.

    Raises ValueError for splits or classes that are missing and for clips that are in two splits at once, and what
    `read_manifest` and `read_folder` raise.
    """
    rows, root = _rows(config, cache=cache, workers=workers, console=console)
    split = {name: [row for row in rows if row.split == name] for name in SPLITS}
    notes: list[str] = []
    decoded = cache / DECODED
    with bar(console, "hashing clips", unit=" files") as report:
        contents = contents_of((row.path for row in rows), index=decoded / INDEX, report=report)
    if not isinstance(config, SyntheticData):
        content = told_apart(contents)
        notes = checked_rows(config, rows, content, root=root)
        if not split["validation"] and split["train"]:
            split = hold_out(
                split, content, root=root, fraction=config.validation_fraction, seed=seed, console=console
            )
    absent = [name for name in SPLITS if not split[name]]
    if absent:
        raise ValueError(f"{root}: no clips in split {', '.join(absent)}; train and test are needed")
    spec = ClipSpec(
        video=clip.video_spec(),
        audio=AudioSpec(**clip.audio.model_dump()) if clip.audio else None,
        text=text_spec(split["train"], **clip.text.model_dump(), root=root) if clip.text else None,
        labels=label_specs(split, root=root),
        tags=tag_specs(config.tags, split, separator=config.tag_separator, root=root),
    )
    return ListedData(root=root, split=split, spec=spec, notes=notes, contents=contents)


def synthetic_spec(
    config: SyntheticData, clip: ClipConfig, *, inputs: Sequence[str] | None
) -> ClipSpec | None:
    """The spec of synthetic clips that need not be written yet, of these inputs alone; by default of all.

    `None` where captions are among them: their words are drawn while clips are written.
    """
    if clip.text is not None and (inputs is None or "text" in inputs):
        return None
    spec = ClipSpec(
        video=clip.video_spec(),
        audio=AudioSpec(**clip.audio.model_dump()) if clip.audio else None,
        labels=synthetic_labels(config),
    )
    return spec if inputs is None else spec.only(tuple(inputs))


def _rows(
    config: SyntheticData | ManifestData | FolderData, *, cache: Path, workers: int, console: Console
) -> tuple[list[ClipRow], Path]:
    """All rows, and the folder that their files lie in."""
    if isinstance(config, FolderData):
        return read_folder(config.root), config.root.absolute()
    if isinstance(config, ManifestData):
        texts = config.text if isinstance(config.text, list) else []
        rows = read_manifest(
            config.manifest,
            labels=config.labels,
            more=(*config.tags, *texts),
            where=config.where,
            exclude=config.exclude,
            text_column=config.text if isinstance(config.text, str) else None,
            pad_s=config.pad_s,
        )
        if texts:
            rows = [replace(row, text=_joined(row, texts, config.text_separator)) for row in rows]
        return rows, config.manifest.absolute().parent
    key = synthetic_key(config)

    def make(folder: Path) -> None:
        with bar(console, "writing synthetic clips") as report:
            write_synthetic(config, folder, workers=workers, report=report)

    place = cache / f"synthetic-{key[:16]}"
    title = "synthetic clips"
    with one_at_a_time(place, waiting=lambda who: say(console, f"{title}: waiting for {who}")):
        folder = stored(
            place,
            key=key,
            make=make,
            load=lambda made: made,
            names=SYNTHETIC_FILES,
            title=title,
            tell=lambda sentence: say(console, sentence),
        ).value
    return (
        read_manifest(folder / "manifest.csv", labels=config.labels, more=config.tags),
        folder.absolute(),
    )


def _joined(row: ClipRow, columns: Sequence[str], separator: str) -> str:
    """The texts of a row in these columns, one after another."""
    return separator.join(row.more[name] for name in columns if row.more[name])


def _tell(opened: dict[str, ClipSet], *, spec: ClipSpec, notes: Sequence[str], console: Console) -> None:
    """Says what the data is, what was left out, and which files are odd."""
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
