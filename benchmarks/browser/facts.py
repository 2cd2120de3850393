"""What a page tells about its browser, and what that means for the figures."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.device import Description

_FINE_CLOCK_MS = 0.02
"""Steps of a clock that times single inferences; that of an isolated page has 0.005 ms."""
LABEL = "milliseconds in a browser, not those of an app on the same phone"


class Facts(BaseModel):
    """Properties of a browser as the page reads them; None if the browser does not tell."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user_agent: str = Field(max_length=1000)
    model: str | None = Field(max_length=200)
    """Model of the phone, from Chromium in a secure context."""
    cores: int = Field(ge=1, le=4096)
    """`navigator.hardwareConcurrency`; browsers may report fewer than there are."""
    memory_gib: float | None = Field(gt=0, le=4096)
    """`navigator.deviceMemory`, rounded and limited by the browser."""
    secure: bool
    """Whether the page is a secure context."""
    isolated: bool
    """Whether the page is cross-origin isolated, which threads need."""
    backends: tuple[str, ...] = Field(max_length=10, strict=False)
    """Of `wasm`, `webgpu` and `webnn`, those that exist."""
    gpu: str | None = Field(max_length=200)
    """Vendor and architecture of the WebGPU adapter."""
    clock_ms: float = Field(gt=0, le=1000)
    """Smallest step of the page's clock."""

    def description(self, name: str) -> Description:
        """The browser as a device."""
        return Description(
            name=name,
            cpu=self.model or "processor not told by the browser",
            cores=self.cores,
            memory_bytes=None if self.memory_gib is None else round(self.memory_gib * 2**30),
            system=(
                f"{self.user_agent}; {'' if self.isolated else 'not '}cross-origin isolated; "
                f"backends: {', '.join(self.backends)}{f' ({self.gpu})' if self.gpu else ''}"
            ),
            governor=None,
            int8_instructions=(),
            load_1min=None,
            notes=self.notes,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on every figure."""
        notes = [LABEL]
        if not self.isolated:
            why = "the page is not cross-origin isolated" if self.secure else "the page is no secure context"
            missing = "" if "webgpu" in self.backends else ", no WebGPU"
            notes.append(f"1 thread{missing}: {why}")
        if self.clock_ms > _FINE_CLOCK_MS:
            notes.append(
                f"the browser's clock has steps of {self.clock_ms:g} ms: inferences shorter than twenty steps are "
                "timed in blocks, and percentiles are over the means of blocks"
            )
        return tuple(notes)
