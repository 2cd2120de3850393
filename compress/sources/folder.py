"""Clips from a folder tree."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from benchmarks.clips.rows import read_folder
from compress.limits import FilePath
from compress.sources.source import TAG_SEPARATOR, FilesConfig, Listing, Reading, Source


class FolderData(FilesConfig):
    """Files root/split/class/clip.mp4; the label column is `class`."""

    labels: ClassVar[list[str]] = ["class"]
    tags: ClassVar[list[str]] = []
    tag_separator: ClassVar[str] = TAG_SEPARATOR
    source: Literal["folder"]
    root: FilePath = Field(description="Folder with train/, test/ and optionally validation/.")


def read(config: FolderData, reading: Reading) -> Listing:
    """The files of the tree; raises what `read_folder` raises."""
    return Listing(rows=read_folder(config.root), root=config.root.absolute())


FOLDER = Source(config=FolderData, read=read)
