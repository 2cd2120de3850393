"""What a source of clips is: its section of a recipe, and the function that lists its clips."""

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
"""Between the tags of a clip, where a source does not say otherwise."""


class SourceConfig(BaseModel):
    """The section `data` of a recipe, whatever the source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    if TYPE_CHECKING:  # fields in some sources, the same for every recipe in others

        @property
        def source(self) -> str:
            """Name of the source in `SOURCES`."""

        @property
        def labels(self) -> Sequence[str]:
            """Label columns; the network gets one head for each."""

        @property
        def tags(self) -> Sequence[str]:
            """Columns of any number of classes a clip."""

        @property
        def tag_separator(self) -> str:
            """What stands between the tags of a clip."""


class FilesConfig(SourceConfig):
    """What sources of the user's own files have in common: these are proven before they are learned from."""

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


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a source may use while it lists its clips."""

    cache: Path
    """Where files that it makes are kept."""
    workers: int
    """Processes that may make them; 0 makes them in this one."""
    console: Console

    def notify(self, sentence: str) -> None:
        """Prints one sentence for whoever watches."""
        self.console.print(sentence, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The clips of a source, none of them opened."""

    rows: list[ClipRow]
    root: Path
    """The folder that their files lie in, absolute."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One row of `SOURCES`."""

    config: type[SourceConfig]
    """Has a key `source` whose one value is the row's name. A source of files that users own has a `FilesConfig`:
    leaks are looked for, clips may be held out, and what cannot be read is told."""
    read: Callable[[Any, Reading], Listing]
    """Lists the clips; raises ValueError for what the user has to mend."""
    labels: Callable[[Any], tuple[LabelSpec, ...]] | None = None
    """The label columns with their classes, where these are known before any clip is there."""
