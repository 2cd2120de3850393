"""Presentation times of frames for files that only store decoding times.

Containers such as AVI, ASF and MXF have one timestamp per packet, the decoding time. Where the presentation order
of a codec differs from its storage order (B-frames), FFmpeg passes these times on, and the decoder returns frames
in presentation order with times that jump back. The sorted times are the presentation times.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from av.video.frame import VideoFrame

from benchmarks.clips.container import decoded, opened
from benchmarks.clips.limits import Limits
from benchmarks.clips.processes import Alive

_IN_ORDER = 300
"""After this many frames in order, the rest is assumed to be in order."""


def display_times(path: Path, stream: int, *, limits: Limits, alive: Alive) -> np.ndarray | None:
    """Sorted times of all frames of a video stream in seconds; None if they are already in order.

    Decodes the first frames, and all of them if their times jump back.
    """
    times_s: list[float] = []
    steps_back = False
    with opened(path, limits) as container:
        video = container.streams[stream]
        if video.codec_context is None:
            return None
        video.codec_context.thread_count = 1
        frames = decoded(container, video, path=path, limits=limits, alive=alive)
        for frame in cast(Iterator[VideoFrame | None], frames):
            if (frame is None or frame.is_corrupt) and not steps_back:
                return None  # lost frames change the order of others
            if frame is None:
                continue
            if frame.pts is None or frame.time_base is None:
                return None
            now_s = float(frame.pts * frame.time_base)
            steps_back |= bool(times_s) and now_s < times_s[-1]
            times_s.append(now_s)
            if len(times_s) >= _IN_ORDER and not steps_back:
                return None
    return np.sort(times_s) if steps_back else None
