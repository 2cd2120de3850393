"""The section `clip` of a recipe: what of a clip goes into networks."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmarks.clips.sound import mel_triangles
from models.spec import VideoSpec


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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
