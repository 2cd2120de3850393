"""Videos with damaged headers and streams: each is read or refused, in bounded time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.clips.cache import UnreadableClips, open_clips
from benchmarks.clips.rows import ClipRow
from models.spec import AudioSpec, ClipSpec, LabelSpec, VideoSpec
from tests.benchmarks.clips.films import film
from tests.fuzz.hostile import cases, damaged
from tests.memory import fresh_process

pytestmark = pytest.mark.slow

SPEC = ClipSpec(
    video=VideoSpec(frames=4, size=16, resize=20),
    audio=AudioSpec(mels=16, bins=10),
    labels=(LabelSpec(name="word", classes=("yes",)),),
)
KINDS: dict[str, Callable[[Path], Path]] = {
    ".mp4": lambda path: film(path, tone_hz=500),
    ".mkv": lambda path: film(path, tone_hz=500),
    ".avi": lambda path: film(path, codec="mpeg4", tone_hz=500),
    ".ts": lambda path: film(path, container="mpegts", tone_hz=500),
    ".gif": lambda path: film(path, codec="gif", pix_fmt="rgb8"),
}
TOGETHER = 8
"""Damaged files that one worker reads in one case: starting a worker takes longer than reading a file."""


@pytest.mark.parametrize("extension", KINDS)
def test_damaged_bytes(tmp_path_factory: pytest.TempPathFactory, extension: str) -> None:
    whole = KINDS[extension](tmp_path_factory.mktemp("whole") / f"film{extension}").read_bytes()

    @cases(3)
    @given(st.lists(damaged(whole), min_size=TOGETHER, max_size=TOGETHER))
    def read(files: list[bytes]) -> None:
        folder = tmp_path_factory.mktemp("damaged")
        rows = []
        for number, data in enumerate(files):
            path = folder / f"{number}{extension}"
            path.write_bytes(data)
            rows.append(ClipRow(path=path, split="test", labels={"word": "yes"}))
        begin_s = time.monotonic()
        fresh_process().call(_read, rows, folder / "cache")
        assert time.monotonic() - begin_s < 60

    read()
    assert fresh_process().children_peak_bytes() < 2 * 1024**3


def _read(rows: list[ClipRow], cache: Path) -> None:
    """Open clips of which some may be damaged, and check what could be read."""
    try:
        clips = open_clips(
            rows,
            SPEC,
            cache=cache,
            workers=1,
            unreadable="skip",
            max_unreadable_share=1.0,
            missing_audio="silence",
        )
    except UnreadableClips:
        return
    assert len(clips) + len(clips.skipped) == len(rows)
    for tensor in clips.batch(list(range(len(clips)))):
        assert np.isfinite(tensor.numpy()).all()
