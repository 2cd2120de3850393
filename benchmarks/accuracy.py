"""Accuracy of exported files, each run in its own runtime on labelled clips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.device import Device, Session, SessionFailed, Unavailable
from benchmarks.exported import Exported
from benchmarks.files import ExportedFile, FileId
from benchmarks.host import HOST
from benchmarks.latency import Progress
from benchmarks.runtimes import RUNTIMES
from benchmarks.top1 import Accuracy, correct_predictions
from models.spec import ClipSpec

if TYPE_CHECKING:
    from benchmarks.clips.cache import ClipSet

_CHUNK_BYTES = 32 * 2**20


@dataclass(frozen=True, kw_only=True)
class FileAccuracy:
    """Accuracy and logits of one exported file on one device over all clips; or the reason why they are missing.

    `per_label` maps each label column to its accuracy.
    """

    format: str
    scheme: str
    device: str
    per_label: dict[str, Accuracy] = field(default_factory=dict)
    clips: int = 0
    runtime: str | None = None
    """Name and version."""
    unavailable: str | None = None
    """Reason for missing figures."""
    failed: bool = False
    """The file should have run on this device but was refused, crashed or timed out."""
    notes: tuple[str, ...] = ()
    logits: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    """Logits `N K`, float32, by output name, in the order of the clips."""

    @property
    def id(self) -> FileId:
        """The file that was measured."""
        return FileId(self.format, self.scheme)

    @property
    def first(self) -> Accuracy | None:
        """Accuracy in the first label column; None where there are no figures."""
        return next(iter(self.per_label.values()), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the logits; `top1` and `ci95` are those of the first label column."""
        first = self.first
        names = ("format", "scheme", "device", "clips", "runtime", "unavailable", "failed", "notes")
        return {
            **{name: getattr(self, name) for name in names},
            "top1": None if first is None else first.top1,
            "ci95": None if first is None else first.interval,
            "per_label": {name: one.to_dict() for name, one in self.per_label.items()},
        }


def evaluate(
    exported: Exported,
    clips: ClipSet,
    *,
    device: Device = HOST,
    threads: int = 1,
    progress: Progress | None = None,
) -> list[FileAccuracy]:
    """Accuracy of every exported file on all of `clips`, in the order of the files.

    Files run in parallel, each in its own process, on the same chunks of clips. A file that cannot run reports
    the reason and does not stop the others. Raises ValueError when there are no clips, or when their
    preprocessing or labels differ from what the files expect.
    """
    if len(clips) == 0:
        raise ValueError("there are no clips to evaluate on")
    spec = exported.clip_spec()
    if clips.spec.inputs != spec.inputs:
        clips = clips.select(spec.inputs)
    _check_same(clips.spec, spec)
    runners = [_Runner(file, device=device, spec=spec) for file in exported.files]
    with ExitStack() as sessions:
        for runner in runners:
            runner.load(threads=threads, sessions=sessions)
        for done, inputs in _chunks(clips):
            for runner in runners:
                runner.begin(inputs)
            for runner in runners:
                runner.end()
            if progress is not None:
                progress("accuracy", done, len(clips))
        for runner in runners:
            runner.read_notes()
    for runner in runners:
        if runner.runs:
            runner.score(clips.labels.numpy())
    return [runner.accuracy for runner in runners]


def _check_same(given: ClipSpec, wanted: ClipSpec) -> None:
    for name in ("video", "audio", "text", "labels"):
        theirs, ours = getattr(given, name), getattr(wanted, name)
        if name == "video" and theirs is not None and ours is not None:
            # The file contains the normalisation; clips do not depend on it.
            theirs = replace(theirs, mean=ours.mean, std=ours.std)
        if theirs != ours:
            raise ValueError(
                f"the clips differ from what the files expect in {name}: clips have {theirs}, files {ours}"
            )


def _chunks(clips: ClipSet) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Inputs by name of consecutive chunks of clips, each with the number of clips up to its end."""
    clip_bytes = sum(tensor.nbytes for tensor in clips.batch([0]))
    step = max(1, _CHUNK_BYTES // clip_bytes)
    for begin in range(0, len(clips), step):
        end = min(begin + step, len(clips))
        arrays = (tensor.numpy() for tensor in clips.batch(range(begin, end)))
        yield end, dict(zip(clips.spec.inputs, arrays, strict=True))


class _Runner:
    """The session of one file and its logits so far."""

    _session: Session

    def __init__(self, file: ExportedFile, *, device: Device, spec: ClipSpec) -> None:
        self.accuracy = FileAccuracy(
            format=file.format, scheme=file.scheme, device=device.name, unavailable=file.missing
        )
        self._device = device
        self._file = file
        self._spec = spec
        self._chunks: list[list[np.ndarray]] = []

    @property
    def runs(self) -> bool:
        """Whether the file can still be evaluated."""
        return self.accuracy.unavailable is None

    def load(self, *, threads: int, sessions: ExitStack) -> None:
        """Opens the file on the device and loads it."""
        if not self.runs:
            return
        try:
            self._session = sessions.enter_context(self._device.open(self._file))
            runtime = self._session.load(threads=threads)
        except (Unavailable, SessionFailed) as error:
            self._give_up(error)
            return
        self.accuracy = replace(self.accuracy, runtime=runtime)

    def begin(self, inputs: dict[str, np.ndarray]) -> None:
        """Sends a chunk of clips."""
        if not self.runs:
            return
        try:
            self._session.begin_infer(inputs)
        except (Unavailable, SessionFailed) as error:
            self._give_up(error)

    def end(self) -> None:
        """Waits for the logits of the chunk that was sent."""
        if not self.runs:
            return
        try:
            self._chunks.append(self._session.end_infer())
        except (Unavailable, SessionFailed) as error:
            self._give_up(error)

    def read_notes(self) -> None:
        """Reads the notes on the runtime and on the device, after all clips."""
        if not self.runs:
            return
        try:
            notes = RUNTIMES[self._file.format].notes + self._device.describe().notes
        except Unavailable as error:
            self._give_up(error)
            return
        self.accuracy = replace(self.accuracy, notes=notes)

    def score(self, labels: np.ndarray) -> None:
        """Compares the logits with `labels` `N columns`; a clip without finite logits counts as wrong."""
        columns = [np.concatenate(chunks) for chunks in zip(*self._chunks, strict=True)]
        by_name = {tensor.name: logits for tensor, logits in zip(self._file.outputs, columns, strict=True)}
        logits = {name: by_name[name] for name in self._spec.outputs}
        per_label: dict[str, Accuracy] = {}
        notes = self.accuracy.notes
        for label, values, classes in zip(self._spec.labels, logits.values(), labels.T, strict=True):
            correct = correct_predictions(values, classes)
            per_label[label.name] = Accuracy(correct=int(correct.sum()), total=len(correct))
            finite = np.isfinite(values).all(axis=1)
            if not finite.all():
                notes += (f"{label.name}: {(~finite).sum()} clips have non-finite logits and count as wrong",)
        self.accuracy = replace(
            self.accuracy,
            per_label=per_label,
            clips=len(labels),
            notes=notes,
            logits=logits,
        )

    def _give_up(self, error: Unavailable | SessionFailed) -> None:
        self.accuracy = replace(
            self.accuracy, unavailable=str(error), failed=isinstance(error, SessionFailed)
        )
