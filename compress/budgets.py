"""The section `data.limits`: how much a file of clips may ask for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.clips.limits import Limits


class LimitsConfig(BaseModel):
    """What a file may ask for before it is refused; see `benchmarks/clips/limits.py`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pixels: int = Field(
        default=Limits.max_pixels, ge=1, le=2**31 - 1, description="Pixels of a frame; 8K video is taken."
    )
    max_frames: int = Field(default=Limits.max_frames, ge=1, le=10**9, description="Frames within one clip.")
    max_span_s: float = Field(
        default=Limits.max_span_s, gt=0, le=10**7, description="Length of one clip in seconds."
    )
    max_samples: int = Field(
        default=Limits.max_samples, ge=1, le=10**10, description="Samples of one clip's sound."
    )
    max_memory_mib: int = Field(
        default=Limits.max_memory_mib,
        ge=512,
        le=2**20,
        description="MiB of address space of a process that decodes.",
    )
    max_cpu_s: float = Field(
        default=Limits.max_cpu_s,
        gt=0,
        le=10**6,
        description="Seconds of processor time for decoding a file, and as many again for each MiB of it.",
    )

    def limits(self) -> Limits:
        """The limits as decoders take them."""
        return Limits(**self.model_dump())
