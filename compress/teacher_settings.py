"""Settings of teachers in recipes: their cache, and the inputs and outputs of a file."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from compress.limits import Cell
from models.spec import Modality

LAYOUTS: dict[Modality, tuple[str, frozenset[str]]] = {
    "clip": ("NCTHW", frozenset("NT")),
    "audio": ("NCMB", frozenset("NC")),
    "text": ("NL", frozenset("N")),
}
"""Order of the axes of each input in batches of clips, and the axes that a file may lack."""

_Name = Annotated[str, Field(min_length=1, max_length=400)]
_Number = Annotated[float, Field(ge=-1e6, le=1e6)]
_Std = Annotated[float, Field(ge=1e-6, le=1e6)]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class CacheConfig(_Settings):
    """Outputs of a teacher on disk, in fp16."""

    top_k: int | None = Field(default=None, ge=1, le=65_536)
    """Number of classes that are stored for each clip; the rest of the probability is spread evenly over the
    others. By default the logits of all classes."""


class FileInput(_Settings):
    """How a file takes one input of the clips."""

    name: _Name | Annotated[int, Field(ge=0, le=1_000)] | None = None
    """Name or position of the input in the file; needed if it has several."""
    layout: Annotated[str, Field(min_length=1, max_length=5, pattern=r"^[NCTHWMBL]+$")] | None = None
    """Order of the axes, such as `NTHWC`; by default `NCTHW` of `clip`, `NCMB` of `audio`, `NL` of `text`. A layout
    of `clip` without `T`, such as `NHWC`, is that of single frames, over which the outputs are averaged."""
    range: tuple[_Number, _Number] = (0.0, 1.0)
    """Values of a black and of a white pixel, such as [-1, 1] or [0, 255]."""
    mean: tuple[_Number, _Number, _Number] | None = None
    """Subtracted from the pixels, per channel, after `range`."""
    std: tuple[_Std, _Std, _Std] | None = None
    """Divides the pixels, per channel, after `mean`."""

    @model_validator(mode="after")
    def _range_has_a_width(self) -> Self:
        if self.range[0] == self.range[1]:
            raise ValueError("range gives black and white the same value")
        return self

    def layout_of(self, name: Modality) -> str:
        """Order of the axes of the input `name` in the file."""
        return self.layout or LAYOUTS[name][0]


class FileOutput(_Settings):
    """The output of a file for one label column."""

    name: _Name | Annotated[int, Field(ge=0, le=1_000)] | None = None
    """Name or position of the output in the file; needed if it has several."""
    values: Literal["logits", "probabilities"] = "logits"
    """What the output is. The logarithm of probabilities is taken."""
    classes: tuple[Cell, ...] | None = Field(default=None, min_length=2, max_length=65_536)
    """The classes of the file in the order of its output, if they differ from those of the column in alphabetical
    order. Classes that the column lacks are left out."""

    @model_validator(mode="after")
    def _classes_differ(self) -> Self:
        names = self.classes or ()
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"class {twice!r} is given twice")
        return self
