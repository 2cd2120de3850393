"""Clips from a CSV manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmarks.clips.rows import ClipRow, read_manifest
from compress.limits import Cell, FilePath, Word
from compress.sources.source import TAG_SEPARATOR, FilesConfig, Listing, Reading, Source

_Filter = dict[Word, Annotated[list[Cell], Field(max_length=10_000)]]


class ManifestData(FilesConfig):
    """A CSV with the columns path, split, the label columns and optionally text, start_s, end_s."""

    source: Literal["manifest"]
    manifest: FilePath = Field(description="The CSV file; paths in it are relative to its folder.")
    labels: list[Word] = Field(
        min_length=1, max_length=32, description="Label columns; the network has one head for each."
    )
    where: _Filter = Field(
        default_factory=dict,
        max_length=32,
        description="Keep only the rows with these values, by column.",
    )
    exclude: _Filter = Field(
        default_factory=dict,
        max_length=32,
        description="Exclude the rows with these values, by column.",
    )
    tags: list[Word] = Field(
        default=[],
        max_length=32,
        description="Columns with any number of classes per clip, for teachers that learn them.",
    )
    tag_separator: str = Field(
        default=TAG_SEPARATOR,
        min_length=1,
        max_length=16,
        description="Separator of the tags of a clip.",
    )
    text: Word | Annotated[list[Word], Field(min_length=1, max_length=32)] | None = Field(
        default="text",
        description="Column of the captions, or several (caption, title, subtitles, ...) whose texts are joined in "
        "this order; null ignores captions.",
    )
    text_separator: str = Field(
        default=" ", max_length=16, description="Separator of joined texts; empty texts are skipped."
    )
    pad_s: float = Field(
        default=0.0,
        ge=0,
        le=3_600,
        description="Extends start_s..end_s on both sides, within the file.",
    )

    @model_validator(mode="after")
    def _labels_once(self) -> Self:
        for kind, columns in (("labels", self.labels), ("labels and tags", [*self.labels, *self.tags])):
            if len(set(columns)) < len(columns):
                raise ValueError(f"{kind} name a column twice: {', '.join(columns)}")
        return self


def read(config: ManifestData, reading: Reading) -> Listing:
    """The rows of the manifest, filtered, with their texts joined; raises what `read_manifest` raises."""
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
    return Listing(rows=rows, root=config.manifest.absolute().parent)


def _joined(row: ClipRow, columns: Sequence[str], separator: str) -> str:
    """The joined texts of a row in these columns."""
    return separator.join(row.more[name] for name in columns if row.more[name])


MANIFEST = Source(config=ManifestData, read=read)
