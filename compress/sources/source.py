"""The interface of sources of clips: a section of a recipe, and a function that lists clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from benchmarks.clips.cache import MAX_UNREADABLE_SHARE
from benchmarks.clips.rows import ClipRow
from compress.budgets import LimitsConfig
from models.spec import LabelSpec

TAG_SEPARATOR = ";"
"""Default separator of the tags of a clip."""


class SourceConfig(BaseModel):
    """The section `data` of a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    if TYPE_CHECKING:  # fields in some sources, constants in others

        @property
        def source(self) -> str:
            """Name of the source in `SOURCES`."""

        @property
        def labels(self) -> Sequence[str]:
            """Label columns; the network has one head for each."""

        @property
        def tags(self) -> Sequence[str]:
            """Columns with any number of classes per clip."""

        @property
        def tag_separator(self) -> str:
            """Separator of the tags of a clip."""


class FilesConfig(SourceConfig):
    """Common settings of sources with user files, which are validated before training."""

    validation_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of the training files held out if the data has no split `validation`, of every class.",
    )
    unreadable: Literal["refuse", "skip"] = Field(
        default="refuse",
        description="Stop at unreadable files, or exclude their clips and report them.",
    )
    missing_audio: Literal["refuse", "silence"] = Field(
        default="refuse",
        description="Treatment of clips without audio if audio is an input: unreadable, or silent.",
    )
    max_unreadable_share: float = Field(
        default=MAX_UNREADABLE_SHARE,
        ge=0,
        le=1,
        description="Largest share of clips that `unreadable: skip` may exclude; above it the run stops.",
    )
    leakage: Literal["refuse", "spans", "allow"] = Field(
        default="refuse",
        description="`refuse` stops at files with clips in two splits, by path, link or content; `spans` only at "
        "clips that overlap in time; `allow` reports all and continues.",
    )
    limits: LimitsConfig = Field(
        default_factory=LimitsConfig, description="Resource limits above which a file is unreadable."
    )


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Resources of a source for listing its clips."""

    cache: Path
    """Folder for generated files."""
    workers: int
    """Number of processes for generating files; 0 uses this process."""
    console: Console

    def notify(self, sentence: str) -> None:
        """Prints a message."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The clips of a source, not opened yet."""

    rows: list[ClipRow]
    root: Path
    """The absolute path of the folder of the files."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One row of `SOURCES`."""

    config: type[SourceConfig]
    """Has a key `source` whose only value is the name of the row. A source of user files has a `FilesConfig`:
    clips are checked for leakage, may be held out, and unreadable files are reported."""
    read: Callable[[Any, Reading], Listing]
    """Lists the clips; raises ValueError for faults of the data."""
    labels: Callable[[Any], tuple[LabelSpec, ...]] | None = None
    """The label columns with their classes, if known before any clip exists."""
