"""The section `data.limits`: resource limits for a file of clips."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.clips.limits import Limits


class LimitsConfig(BaseModel):
    """Resource limits for decoding one file; see `benchmarks/clips/limits.py`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_pixels: int = Field(
        default=Limits.max_pixels,
        ge=1,
        le=2**31 - 1,
        description="Pixels of a frame; the default admits 8K video.",
    )
    max_frames: int = Field(default=Limits.max_frames, ge=1, le=10**9, description="Frames within one clip.")
    max_span_s: float = Field(
        default=Limits.max_span_s, gt=0, le=10**7, description="Length of one clip in seconds."
    )
    max_samples: int = Field(
        default=Limits.max_samples, ge=1, le=10**10, description="Audio samples of one clip."
    )
    max_memory_mib: int = Field(
        default=Limits.max_memory_mib,
        ge=512,
        le=2**20,
        description="Address space of a decoding process in MiB.",
    )
    max_cpu_s: float = Field(
        default=Limits.max_cpu_s,
        gt=0,
        le=10**6,
        description="Processor time for decoding a file in seconds, plus the same for each MiB of it.",
    )

    def limits(self) -> Limits:
        """The limits for decoders."""
        return Limits(**self.model_dump())
