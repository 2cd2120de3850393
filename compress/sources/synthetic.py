"""A data set of video files (H.264 + AAC in MP4, with captions) generated from a seed.

Eight classes of motion of one shape among distractors that only tremble, drawn by `compress/synthetic_scenes.py`.

Some *training* rows have a wrong label (column `label`), as in web data; about two thirds of these are the most
easily confused class. Validation and test labels are correct. The column `true_label` has the true class and is
not used by this project. Other tasks have no label noise: the moving thing (column `thing`), and tags of motion
and thing (column `tags`).
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import av
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.clips.processes import Alive, Lost, run_jobs
from benchmarks.clips.rows import read_manifest
from compress.command.progress import bar
from compress.limits import Seed
from compress.sources.source import TAG_SEPARATOR, Listing, Reading, Source, SourceConfig
from compress.store import one_at_a_time, stored
from compress.synthetic_scenes import (
    CLASSES,
    OPPOSITE,
    SAMPLE_RATE_HZ,
    SECONDS,
    TAGS,
    THINGS,
    Hardness,
    draw_caption,
    draw_frames,
    draw_sound,
)
from models.spec import LabelSpec

GENERATOR = 2
"""Incremented when the same settings give different files."""


SYNTHETIC_FILES = ("manifest.csv", "train/*.mp4", "validation/*.mp4", "test/*.mp4")
"""Names of the files of `write_synthetic`."""


class SplitSizes(BaseModel):
    """Number of clips of each split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: int = Field(default=1_600, ge=16, le=1_000_000)
    validation: int = Field(default=200, ge=8, le=1_000_000)
    test: int = Field(default=600, ge=8, le=1_000_000)


class SyntheticData(SourceConfig):
    """Generated clips of eight motions; `compress/synthetic_scenes.py` describes their difficulty."""

    tag_separator: ClassVar[str] = TAG_SEPARATOR
    source: Literal["synthetic"]
    labels: list[Literal["label", "thing"]] = Field(
        default=["label"],
        min_length=1,
        max_length=2,
        description="Label columns: the motion, and the moving thing; the network has one head for each.",
    )
    tags: list[Literal["tags"]] = Field(
        default=[],
        max_length=1,
        description="Tag columns: `tags` has words of the motion and of the thing, for teachers.",
    )
    clips: SplitSizes = Field(default_factory=SplitSizes)
    difficulty: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="0: clean video and correct labels; 1: hardly solvable.",
    )
    seed: Seed = Field(default=0, description="The same seed gives the same files.")
    fps: int = Field(default=16, ge=4, le=60, description="Frames per second; a clip lasts one second.")


def synthetic_key(config: SyntheticData) -> str:
    """Hash of everything that determines the files."""
    settings = config.model_dump(exclude={"labels", "tags"})
    facts = json.dumps([GENERATOR, settings, vars(Hardness.of(config.difficulty))], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()


def synthetic_labels(config: SyntheticData) -> tuple[LabelSpec, ...]:
    """The label columns of the clips, with their classes, before any clip is written."""
    classes: dict[str, set[str]] = {"label": set(CLASSES), "thing": set()}
    if "thing" in config.labels:
        for number in range(config.clips.train):
            classes["thing"].add(_thing(_random(config, 0, number)))
            if len(classes["thing"]) == len(THINGS):
                break
    return tuple(LabelSpec(name=name, classes=tuple(sorted(classes[name]))) for name in config.labels)


def _random(config: SyntheticData, split: int, number: int) -> np.random.Generator:
    """The random generator of one clip."""
    return np.random.default_rng((config.seed, split, number))


def _thing(random: np.random.Generator) -> str:
    """The moving thing, the first random draw."""
    return THINGS[random.integers(len(THINGS))]


def write_synthetic(
    config: SyntheticData, folder: Path, *, workers: int, report: Callable[[int, int], None]
) -> None:
    """Writes `<split>/<number>.mp4` and `manifest.csv` (path, split, label, true_label, thing, tags, text) into
    `folder`.

    The same settings give the same bytes for any `workers`. `report` is called with the number of clips and the
    total.
    """
    jobs = []
    for number, split in enumerate(("train", "validation", "test")):
        (folder / split).mkdir(exist_ok=True)
        count = getattr(config.clips, split)
        order = np.random.default_rng((config.seed, number)).permutation(count) % len(CLASSES)
        jobs += [
            _Job(config=config, folder=folder, split=split, number=clip, motion=CLASSES[order[clip]])
            for clip in range(count)
        ]
    rows: dict[int, dict[str, str]] = {}
    report(0, len(jobs))
    for number, result in run_jobs(write_clip, jobs, workers=workers):
        if isinstance(result, Lost):
            raise OSError(f"{jobs[number].path}: could not be written, {result.reason}")
        if isinstance(result, dict):
            rows[number] = result
            report(len(rows), len(jobs))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "split", "label", "true_label", "thing", "tags", "text"])
        writer.writeheader()
        writer.writerows(rows[number] for number in sorted(rows))


@dataclass(frozen=True, kw_only=True)
class _Job:
    config: SyntheticData
    folder: Path
    split: str
    number: int
    motion: str

    @property
    def path(self) -> Path:
        return self.folder / self.split / f"{self.number:05d}.mp4"


def write_clip(job: _Job, alive: Alive) -> Iterator[dict[str, str]]:
    """Writes one file and yields its manifest row."""
    alive()
    hard = Hardness.of(job.config.difficulty)
    split = ("train", "validation", "test").index(job.split)
    random = _random(job.config, split, job.number)
    thing = _thing(random)
    frames = draw_frames(job.motion, thing, hard, random, frames=round(job.config.fps * SECONDS))
    sound = draw_sound(job.motion, hard, random)
    text = draw_caption(job.motion, thing, hard, random)
    label = job.motion
    if job.split == "train" and random.random() < hard.wrong_label:
        others = [name for name in CLASSES if name != job.motion]
        label = OPPOSITE[job.motion] if random.random() < 0.6 else others[random.integers(len(others))]
    try:
        _encode(job.path, frames, sound, fps=job.config.fps)
    except av.FFmpegError as error:  # a full disk; this exception type cannot be pickled
        raise OSError(error.errno, error.strerror, str(job.path)) from None
    yield {
        "path": f"{job.split}/{job.path.name}",
        "split": job.split,
        "label": label,
        "true_label": job.motion,
        "thing": thing,
        "tags": TAG_SEPARATOR.join((*TAGS[job.motion], *TAGS[thing])),
        "text": text,
    }


def _encode(path: Path, frames: np.ndarray, sound: np.ndarray, *, fps: int) -> None:
    """Writes an MP4 with fixed settings, so that equal frames and samples give equal bytes."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        # Slower presets are not deterministic for frame sizes that are not multiples of 16.
        video.options = {"preset": "ultrafast", "crf": "24", "threads": "1"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ)
        audio.layout, audio.bit_rate, audio.options = "mono", 32_000, {"aac_coder": "fast"}
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
        samples = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        samples.sample_rate, samples.pts = SAMPLE_RATE_HZ, 0
        container.mux(audio.encode(samples))
        container.mux(audio.encode())


def read(config: SyntheticData, reading: Reading) -> Listing:
    """The clips, generated if they are not in the cache."""
    key, title = synthetic_key(config), "synthetic clips"

    def make(folder: Path) -> None:
        with bar(reading.console, "writing synthetic clips") as report:
            write_synthetic(config, folder, workers=reading.workers, report=report)

    place = reading.cache / f"synthetic-{key[:16]}"
    with one_at_a_time(place, waiting=lambda holder: reading.notify(f"{title}: waiting for {holder}")):
        folder = stored(
            place,
            key=key,
            make=make,
            load=lambda made: made,
            names=SYNTHETIC_FILES,
            title=title,
            notify=reading.notify,
        ).value
    rows = read_manifest(folder / "manifest.csv", labels=config.labels, more=config.tags)
    return Listing(rows=rows, root=folder.absolute())


SYNTHETIC = Source(config=SyntheticData, read=read, labels=synthetic_labels)
