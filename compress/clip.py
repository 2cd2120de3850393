"""The section `clip` of a recipe: preprocessing of the inputs of networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmarks.clips.sound import mel_triangles
from models.spec import VideoSpec


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AudioConfig(_Config):
    """Audio as a log-mel spectrogram; see `AudioSpec`."""

    sample_rate_hz: int = Field(
        default=16_000, ge=1_000, le=192_000, description="Sample rate after resampling, mono."
    )
    window: int = Field(default=400, ge=16, le=65_536, description="Window length in samples.")
    hop: int = Field(default=160, ge=1, le=65_536, description="Distance between windows in samples.")
    mels: int = Field(default=40, ge=1, le=512, description="Mel bands.")
    bins: int = Field(default=64, ge=1, le=4_096, description="Time bins over the whole clip.")
    mean: float = Field(
        default=-4.0,
        ge=-1_000,
        le=1_000,
        description="The input of networks is (x - mean) / std of the log-mel spectrogram.",
    )
    std: float = Field(default=4.0, ge=1e-3, le=1_000, description="See `mean`.")

    @model_validator(mode="after")
    def _bands_exist(self) -> Self:
        mel_triangles(sample_rate_hz=self.sample_rate_hz, window=self.window, mels=self.mels)
        return self


class TextConfig(_Config):
    """Captions as tokens; the vocabulary comes from the training clips."""

    length: int = Field(
        default=16, ge=1, le=4_096, description="Tokens of a caption; longer captions are truncated."
    )
    max_words: int = Field(default=1_000, ge=1, le=1_000_000, description="Largest size of the vocabulary.")


_Mean = Annotated[float, Field(ge=-1_000, le=1_000)]
_Std = Annotated[float, Field(ge=1e-3, le=1_000)]


class TeacherClip(_Config):
    """Geometry of a teacher's video, which shows the same region of space and time as that of the student."""

    frames: int | None = Field(
        default=None,
        ge=1,
        le=1_024,
        description="Number of frames of a clip; by default those of the section clip.",
    )
    size: int | None = Field(
        default=None,
        ge=8,
        le=1_024,
        description="Height and width of a frame in pixels; by default those of the section clip. The margin of "
        "the crop is scaled with it.",
    )
    mean: tuple[_Mean, _Mean, _Mean] | None = Field(
        default=None, description="The teacher computes (x - mean) / std; by default as in the section clip."
    )
    std: tuple[_Std, _Std, _Std] | None = Field(default=None, description="See `mean`.")

    def video(self, student: VideoSpec) -> VideoSpec:
        """The teacher's video, of the same region of space and time as that of the student.

        The crop is the same share of the frame. With `strided` sampling, the stride is divided by the ratio of the
        frames. Raises `ValueError` if that is not a whole number.
        """
        frames, size = self.frames or student.frames, self.size or student.size
        stride = student.stride
        if student.sampling == "strided":
            stride, rest = divmod(student.stride * student.frames, frames)
            if rest or not stride:
                raise ValueError(
                    f"{frames} frames cannot cover the {student.stride * student.frames} source frames of a clip "
                    f"({student.frames} frames with stride {student.stride}) evenly; give a divisor of that number"
                )
        return replace(
            student,
            frames=frames,
            size=size,
            resize=round(size * student.resize / student.size),
            stride=stride,
            mean=self.mean or student.mean,
            std=self.std or student.std,
        )


class ClipConfig(_Config):
    """Preprocessing of the inputs of networks."""

    frames: int = Field(default=8, ge=1, le=1_024, description="Number of frames of a clip.")
    size: int = Field(default=64, ge=8, le=1_024, description="Height and width of a frame in pixels.")
    resize: int | None = Field(
        default=None,
        ge=8,
        le=4_096,
        description="Short side before the centre crop to `size`; default: size * 1.125, rounded.",
    )
    sampling: Literal["uniform", "strided"] = Field(
        default="uniform",
        description="`uniform`: the centres of equal parts of the clip; `strided`: every `stride`-th frame, "
        "centred in the clip.",
    )
    stride: int = Field(
        default=1, ge=1, le=10_000, description="Distance between frames in source frames, for `strided`."
    )
    margin: int = Field(
        default=0,
        ge=0,
        le=64,
        description="Further frames before and after each training clip, at the distance of its frames and also "
        "from outside its span, for `augmentation.temporal`.",
    )
    mean: tuple[_Mean, _Mean, _Mean] = Field(
        default=(0.5, 0.5, 0.5),
        description="Networks compute (x - mean) / std per channel, RGB in 0..1.",
    )
    std: tuple[_Std, _Std, _Std] = Field(default=(0.5, 0.5, 0.5), description="See `mean`.")
    audio: AudioConfig | None = None
    text: TextConfig | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize {self.resize} is smaller than size {self.size}: cannot crop")
        if self.sampling == "uniform" and self.stride != 1:
            raise ValueError(f"stride {self.stride} has no effect with sampling `uniform`; use `strided`")
        return self

    def video_spec(self) -> VideoSpec:
        """The video part of a `ClipSpec`."""
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
