"""When frames are shown, for files that only say in which order frames are stored.

Containers such as AVI, ASF and MXF know one time for each packet, that of decoding. Where a codec shows frames in
another order than it stores them (B-frames), FFmpeg passes these times on, and frames come out of the decoder in
the order in which they are shown with times that step back. Their times, sorted, are when they are shown.
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
"""So many frames in order, and none is expected to come out of order."""


def display_times(path: Path, stream: int, *, limits: Limits, alive: Alive) -> np.ndarray | None:
    """Sorted times of all frames of a video stream in seconds; None when they are in order as they are.

    Decodes the first frames, and all of them when their times step back.
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
                return None  # frames that are lost put others out of order
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
