"""The time to decode and prepare a clip: what an application waits for beside inference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.clips.container import Clip, Cut
from benchmarks.clips.frames import FrameRule
from benchmarks.clips.processes import Alive, run_jobs
from benchmarks.clips.sound import AudioRule
from benchmarks.clips.store import Job, Rule, read

if TYPE_CHECKING:
    from benchmarks.clips.cache import ClipSet
    from benchmarks.field_data import FieldData

_MOST_CLIPS = 10


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Median times over `clips` clips, on the machine that reads the data, with one thread."""

    decode_ms: float
    """From the file to frames and spectrograms; the file is in the cache of the system."""
    arrange_ms: float
    """From those to the inputs of the network: crop, float, order of axes."""
    clips: int


def preparation(data: FieldData, clips: ClipSet, *, workers: int = 1) -> Preparation | None:
    """Decodes and prepares up to 10 of `clips`, evenly spaced, one at a time; None if none can be read now."""
    places = np.unique(np.linspace(0, len(clips) - 1, _MOST_CLIPS).round().astype(int)).tolist()
    video, audio = clips.spec.video, clips.spec.audio
    rules: list[Rule] = [
        *([FrameRule.of(video)] if video else []),
        *([AudioRule.of(audio, missing=data.missing_audio)] if audio else []),
    ]
    jobs = [
        [
            Job(
                path=row.path,
                cuts=(Cut(start_s=row.start_s, end_s=row.end_s, pad_s=row.pad_s),),
                rule=rule,
                limits=data.limits,
            )
            for rule in rules
        ]
        for row in (clips.rows[place] for place in places)
    ]
    found = run_jobs(timed, jobs, workers=min(workers, 1), memory_mib=data.limits.max_memory_mib)
    decoded_ns = [result for _, result in found if isinstance(result, int)]
    if not decoded_ns:
        return None
    arranged_ns = [_arrange_ns(clips, place) for place in places]
    return Preparation(
        decode_ms=float(np.median(decoded_ns)) / 1e6,
        arrange_ms=float(np.median(arranged_ns)) / 1e6,
        clips=len(decoded_ns),
    )


def timed(jobs: list[Job], alive: Alive) -> Iterator[int]:
    """Yields the nanoseconds for all inputs of one clip; nothing if one cannot be read. The first, untimed reading
    brings the file into the cache of the system."""
    for _ in range(2):
        begin_ns = perf_counter_ns()
        read_all = all(any(isinstance(one, Clip) for one in read(job, alive)) for job in jobs)
        elapsed_ns = perf_counter_ns() - begin_ns
    if read_all:
        yield elapsed_ns


def _arrange_ns(clips: ClipSet, place: int) -> int:
    clips.batch([place])
    begin_ns = perf_counter_ns()
    clips.batch([place])
    return perf_counter_ns() - begin_ns
