"""Classifies whole videos: one process decodes windows, another runs the file, this one aggregates."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.clips.container import Note
from benchmarks.clips.frames import FrameRule
from benchmarks.clips.limits import USUAL, Limits
from benchmarks.clips.processes import Done, Lost, run_jobs
from benchmarks.clips.sound import AudioRule
from benchmarks.clips.text import tokens
from benchmarks.device import Session
from benchmarks.exported import read_model
from benchmarks.files import ExportedFile
from benchmarks.host import HOST
from benchmarks.long_video.aggregate import AGGREGATES, Aggregate, softmax
from benchmarks.long_video.segments import Begun, Job, LeftOut, Segment, Unreadable, read_segments
from benchmarks.long_video.windows import Dynamic, Sliding, Window, Windows
from models.spec import ClipSpec

_WAITING_SEGMENTS = 4
"""Largest number of decoded windows in the queue."""

Progress = Callable[[Path, float, float], None]
"""Called with the video, the classified seconds and the total."""

Ranking = tuple[tuple[str, float], ...]
"""The best classes with their scores, in descending order."""


@dataclass(frozen=True, kw_only=True)
class SegmentPrediction:
    """The prediction for one window: its most probable classes with probabilities, by label column."""

    window: Window
    top: dict[str, Ranking]


@dataclass(frozen=True, kw_only=True)
class VideoPrediction:
    """The prediction for a video and each of its windows; or the reason why it cannot be read."""

    path: Path
    start_s: float = 0.0
    end_s: float = 0.0
    top: dict[str, Ranking] = field(default_factory=dict)
    """By label column; `aggregate.py` defines the scores."""
    segments: tuple[SegmentPrediction, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    """Windows that could not be decoded or classified."""
    notes: tuple[str, ...] = ()
    unreadable: str | None = None
    """Reason why there is no prediction, or why it stops before the end."""
    seconds: float = 0.0
    """Elapsed time."""


def classify(
    videos: Sequence[Path],
    model: Path,
    *,
    windows: Windows | None = None,
    aggregate: str = "mean",
    top: int = 5,
    caption: str | None = None,
    missing_audio: Literal["refuse", "silence"] = "refuse",
    limits: Limits = USUAL,
    progress: Progress | None = None,
) -> Iterator[VideoPrediction]:
    """Predictions of the exported file `model` for each video, in order; by default with sliding windows.

    A video is decoded once, in parallel with inference; memory does not depend on its length except for a few
    numbers per packet and per window. A video that cannot be read reports the reason and does not stop the others.

    Raises what `read_model` raises, ValueError for an unknown `aggregate`, for a missing or an unused caption, and
    for dynamic windows with a file that takes no video; `Unavailable` and `SessionFailed` if the file cannot run.
    """
    windows = windows or Sliding()
    spec, file = read_model(model)
    _check(spec, windows=windows, aggregate=aggregate, top=top, caption=caption)
    with HOST.open(file) as session:
        session.load(threads=1)
        classifier = _Classifier(spec=spec, file=file, session=session, caption=caption, top=top)
        for path in videos:
            job = Job(
                path=path,
                windows=windows,
                frames=FrameRule.of(spec.video) if spec.video else None,
                size=spec.video.size if spec.video else 0,
                sound=AudioRule.of(spec.audio, missing=missing_audio) if spec.audio else None,
                limits=limits,
            )
            yield _classify_one(job, classifier, aggregate=aggregate, progress=progress)


def _check(spec: ClipSpec, *, windows: Windows, aggregate: str, top: int, caption: str | None) -> None:
    if aggregate not in AGGREGATES:
        raise ValueError(f"aggregate is {aggregate!r}; allowed: {', '.join(AGGREGATES)}")
    if top < 1:
        raise ValueError(f"top is {top}; it has to be 1 or more")
    if spec.text is not None and caption is None:
        raise ValueError(
            "the file takes a caption (input `text`): give one with --text; it applies to every window"
        )
    if spec.text is None and caption is not None:
        raise ValueError(f"a caption was given, but the file takes only {', '.join(spec.inputs)}")
    if isinstance(windows, Dynamic) and spec.video is None:
        raise ValueError("dynamic windows need video, and the file takes none; use sliding windows")


@dataclass(frozen=True, kw_only=True)
class _Classifier:
    """A loaded file with its preprocessing and the decoding of its logits."""

    spec: ClipSpec
    file: ExportedFile
    session: Session
    caption: str | None
    top: int

    def probabilities(self, segment: Segment) -> dict[str, np.ndarray]:
        """Probabilities `K` of a window by label column; ValueError for logits that are not finite."""
        self.session.begin_infer(self._inputs(segment))
        outputs = zip(self.file.outputs, self.session.end_infer(), strict=True)
        logits = {tensor.name: values[0].astype(np.float64) for tensor, values in outputs}
        found = {}
        for label, output in zip(self.spec.labels, self.spec.outputs, strict=True):
            if not np.isfinite(logits[output]).all():
                raise ValueError(f"the file returned logits of {label.name} that are not finite")
            found[label.name] = softmax(logits[output])
        return found

    def best(self, scores: dict[str, np.ndarray]) -> dict[str, Ranking]:
        """The best classes of each label column."""
        return {
            label.name: tuple(
                (label.classes[number], float(scores[label.name][number]))
                for number in np.argsort(-scores[label.name], kind="stable")[: self.top]
            )
            for label in self.spec.labels
        }

    def _inputs(self, segment: Segment) -> dict[str, np.ndarray]:
        inputs: dict[str, np.ndarray] = {}
        if segment.frames is not None:
            inputs["clip"] = segment.frames.transpose(3, 0, 1, 2)[None].astype(np.float32) / 255
        if segment.sound is not None:
            assert self.spec.audio is not None
            inputs["audio"] = (segment.sound[None, None] - self.spec.audio.mean) / self.spec.audio.std
        if self.spec.text is not None:
            assert self.caption is not None
            inputs["text"] = tokens([self.caption], self.spec.text)
        return inputs


def _classify_one(
    job: Job, classifier: _Classifier, *, aggregate: str, progress: Progress | None
) -> VideoPrediction:
    begin_s = time.monotonic()
    span = Begun(start_s=0.0, end_s=0.0)
    joined = {
        label.name: Aggregate(aggregate, classes=len(label.classes)) for label in classifier.spec.labels
    }
    segments: list[SegmentPrediction] = []
    left_out: list[LeftOut] = []
    notes: dict[str, None] = {}
    unreadable: str | None = None
    with ExitStack() as stack:
        parts = run_jobs(
            read_segments,
            [job],
            workers=1,
            waiting_results=_WAITING_SEGMENTS,
            memory_mib=job.limits.max_memory_mib,
        )
        stack.callback(parts.close)
        for _, part in parts:
            match part:
                case Begun():
                    span = part
                case Segment(window=window):
                    try:
                        probabilities = classifier.probabilities(part)
                    except ValueError as error:
                        left_out.append(LeftOut(window=window, reason=str(error)))
                        continue
                    for name, values in probabilities.items():
                        joined[name].add(values, seconds=window.end_s - window.start_s)
                    segments.append(SegmentPrediction(window=window, top=classifier.best(probabilities)))
                    if progress:
                        progress(job.path, window.end_s - span.start_s, span.end_s - span.start_s)
                case LeftOut():
                    left_out.append(part)
                case Note(text=text):
                    notes[text] = None
                case Unreadable(reason=reason):
                    unreadable = reason
                case Lost(reason=reason):
                    unreadable = f"its decoder failed: {reason}"
                case Done():
                    pass
    if not segments and unreadable is None:
        unreadable = left_out[0].reason if left_out else "contains no video or audio"
    return VideoPrediction(
        path=job.path,
        start_s=span.start_s,
        end_s=span.end_s,
        top=classifier.best({name: one.scores for name, one in joined.items()}) if segments else {},
        segments=tuple(segments),
        left_out=tuple(left_out),
        notes=tuple(notes),
        unreadable=unreadable,
        seconds=time.monotonic() - begin_s,
    )
