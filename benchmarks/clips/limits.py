"""Limits on the resources for decoding one file, so that a false header cannot exhaust the machine.

A file that exceeds a limit is refused with the value and the name of the limit.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks.clips.processes import Alive, end_after_cpu_s

_MIB = 2**20
_GRACE_S = 10.0
"""Extra time before a decoder that hangs in one packet is killed."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Resource limits for one file. Raises ValueError for a limit that is not a number above 0."""

    max_pixels: int = 36_000_000
    """Pixels of a frame; 8K video has 33.2 (7680x4320) or 35.4 million (8192x4320)."""
    max_frames: int = 250_000
    """Frames within one clip."""
    max_span_s: float = 3600.0
    """Length of one clip."""
    max_samples: int = 60_000_000
    """Audio samples of one clip, after resampling."""
    max_memory_mib: int = 1_800
    """Address space of a decoding process."""
    max_cpu_s: float = 30.0
    """Processor time for decoding a file, plus the same for each MiB of it."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, int | float) and 0 < value < math.inf):
                raise ValueError(f"limit {field.name} is {value}; give a number above 0")

    def over(self, name: str, what: str) -> str:
        """The message for a file that exceeds the limit `name`; `what` is the value with its unit."""
        return (
            f"{what}, over the limit {name} = {getattr(self, name):,}; if you trust the file, raise the limit: "
            f"data.limits.{name} in a recipe, --limit {name}=NUMBER of a command"
        )

    def pixels(self, width: int, height: int) -> str | None:
        """The message for a frame that is too large; None if it is not."""
        if width * height <= self.max_pixels:
            return None
        return self.over("max_pixels", f"its frames are {width}x{height}, {width * height:,} pixels")

    @property
    def decoder_pixels(self) -> int:
        """The limit for FFmpeg, which also counts the padding of rows and blocks."""
        return self.max_pixels + self.max_pixels // 8 + 2**20

    def no_memory(self) -> str:
        """The message for a file whose decoder ran out of memory."""
        return self.over("max_memory_mib", "decoding it takes more memory than a decoder may use")


USUAL = Limits()
"""The default limits, which admit video of any camera."""


def metered(path: Path, limits: Limits, alive: Alive, *, refuse: Callable[[str], Exception]) -> Alive:
    """Wraps `alive` to raise `refuse(reason)` when this thread exceeds the processor time for the file.

    In a worker process, the system kills a decoder that never calls it.
    """
    try:
        size_bytes = path.stat().st_size
    except OSError:  # reported when the file is opened
        size_bytes = 0
    allowed_s = limits.max_cpu_s * (1 + size_bytes / _MIB)
    begin_s = time.thread_time()
    end_after_cpu_s(allowed_s + _GRACE_S)

    def beat() -> None:
        alive()
        if time.thread_time() - begin_s > allowed_s:
            took = f"decoding it takes more than {allowed_s:.0f} s of processor time, too much for its size"
            raise refuse(limits.over("max_cpu_s", took))

    return beat


def parse_limits(options: Sequence[str] | None) -> Limits:
    """Parses options NAME=NUMBER into limits; raises ValueError for unknown names and invalid values.

    >>> parse_limits(["max_pixels=1000000"]).max_pixels
    1000000
    """
    kinds: dict[str, type] = {field.name: type(field.default) for field in fields(Limits)}
    given: dict[str, float] = {}
    for option in options or ():
        name, _, text = option.partition("=")
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1)
            hint = f"nearest: {near[0]}; " if near else ""
            raise ValueError(f"--limit {option!r}: unknown limit {name!r}; {hint}allowed: {', '.join(kinds)}")
        try:
            given[name] = kinds[name](text.replace("_", ""))
        except ValueError:
            kind = "whole number" if kinds[name] is int else "number"
            raise ValueError(
                f"--limit {option!r}: give a {kind}, as {name}={getattr(Limits, name)}"
            ) from None
    return Limits(**given)  # type: ignore[arg-type]


LIMITS_HELP = (
    "Raise the limit of a resource per file: "
    + ", ".join(f"{field.name} ({field.default:,})" for field in fields(Limits))
    + ". Repeatable."
)
"""Help of the option --limit."""
