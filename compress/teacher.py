"""Teachers in inference mode: their outputs for every clip and view are computed before a training and cached."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from benchmarks.clips.clip_set import Augmentation, ClipSet
from compress.artifact import Artifact
from compress.cached_outputs import CachedOutputs, RecordShape
from compress.command.kept_memory import kept_memory
from compress.command.progress import bar
from compress.criterion import Outputs
from compress.features import WithFeatures, example_of, feature_sizes
from compress.folders.keys import Key
from compress.folders.source import source_hashes
from compress.store import one_at_a_time, stored
from compress.teacher_check import require_finite_logits
from compress.training import FLOAT_BATCH, logits_by_batch

_OUTPUTS = "outputs.bin"

Views = tuple[Augmentation | None, ...]
"""Augmentations of the training clips; None is the centre crop."""


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained network in inference mode."""

    artifact: Artifact
    key: str
    """Hash of everything that determines it: settings, weights, data, code, and the runtime of a file."""
    name: str = "teacher"
    """Name in messages."""
    weight: float = 1.0
    """Weight of its losses relative to those of other teachers."""
    top_k: int | None = None
    """Number of cached classes of each label column; all by default."""

    def fingerprint(
        self, clips: ClipSet, *, augmentation: Augmentation | None, features: tuple[str, ...] = ()
    ) -> Key:
        """The key of its cached outputs: the teacher, its clips, the view, and the code that runs it."""
        return Key.of(
            {
                "teacher": self.key,
                "clips": clips.for_spec(self.artifact.spec).digest,
                "view": str(augmentation),
                "features": features,
                "top_k": self.top_k,
                "source": source_hashes(__name__),
            }
        )

    def outputs(
        self,
        clips: ClipSet,
        *,
        augmentation: Augmentation | None,
        device: torch.device,
        cache: Path,
        console: Console,
        features: tuple[str, ...] = (),
        report: Callable[[int, int], None] | None = None,
    ) -> CachedOutputs:
        """Logits `N K` per label column and the named features (`compress.features`) of all clips under one
        augmentation: computed once, then read from `cache`.

        `clips` has the inputs of the whole data set, of which the teacher uses its own. Outputs for tags and
        retrieval are not stored. Raises `ValueError` for non-finite logits and for values beyond fp16.
        """
        spec, model = self.artifact.spec, self.artifact.model
        key = self.fingerprint(clips, augmentation=augmentation, features=features)
        clips = clips.for_spec(spec)
        folder = cache / "teacher" / key[:32]
        count = len(spec.labels)
        shape = RecordShape(
            classes=tuple(len(label.classes) for label in spec.labels),
            top_k=self.top_k,
            features=feature_sizes(model, example_of(model, spec), features),
        )
        network = WithFeatures(model, features, columns=count) if features else model

        def notify(sentence: str) -> None:
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)

        def make(work: Path) -> None:
            _require_space(work, len(clips) * shape.dtype.itemsize)
            with (work / _OUTPUTS).open("wb") as file:
                for indices, columns in logits_by_batch(
                    network, clips, batch=FLOAT_BATCH, device=device, augmentation=augmentation, report=report
                ):
                    names = [str(clips.rows[index].path) for index in indices]
                    require_finite_logits(columns[:count], spec, names=names)
                    found = dict(zip(features, columns[count:], strict=False))
                    records = shape.records(Outputs(logits=columns[:count], features=found))
                    file.write(records.tobytes())

        def load(finished: Path) -> CachedOutputs:
            return CachedOutputs.open(finished / _OUTPUTS, shape, clips=len(clips))

        title = f"outputs of the {self.name}"
        with one_at_a_time(folder, waiting=lambda holder: notify(f"{title}: waiting for {holder}")):
            return stored(
                folder, key=key, make=make, load=load, names=(_OUTPUTS,), title=title, notify=notify
            ).value


def outputs_of(
    teachers: Sequence[Teacher],
    clips: ClipSet,
    *,
    views: Views,
    features: tuple[str, ...],
    device: torch.device,
    cache: Path,
    console: Console,
) -> list[dict[Augmentation | None, CachedOutputs]]:
    """The outputs of every teacher for all clips by view, with one progress bar."""
    found: list[dict[Augmentation | None, CachedOutputs]] = []
    steps, done = len(teachers) * len(views), 0
    title = "outputs of the teacher" + "s" * (len(teachers) > 1)
    with kept_memory(), bar(console, title, unit=" clips") as report:
        for teacher in teachers:
            of_views = {}
            for view in views:

                def count(at: int, of: int, before: int = done) -> None:
                    report(before * of + at, steps * of)

                of_views[view] = teacher.outputs(
                    clips,
                    augmentation=view,
                    features=features,
                    device=device,
                    cache=cache,
                    console=console,
                    report=count,
                )
                done += 1
                report(done * len(clips), steps * len(clips))
            found.append(of_views)
    return found


def kept_notes(teacher: Teacher, outputs: Mapping[Augmentation | None, CachedOutputs]) -> tuple[str, ...]:
    """Notes on the probability that the stored classes of a teacher have, one for each column stored in part."""
    notes = []
    masses: dict[int, list[tuple[float, float]]] = {}
    for one in outputs.values():
        for column, mean, least in one.shape.kept(one.records):
            masses.setdefault(column, []).append((mean, least))
    for column, found in masses.items():
        label = teacher.artifact.spec.labels[column]
        mean = sum(mean for mean, _ in found) / len(found)
        least = min(least for _, least in found)
        notes.append(
            f"{teacher.name}: {teacher.top_k} of {len(label.classes)} classes of {label.name} are cached, with "
            f"{100 * mean:.1f} % of the probability on average ({100 * least:.1f} % at least); the rest is spread "
            "evenly over the other classes"
        )
    return tuple(notes)


def _require_space(folder: Path, needed_bytes: int) -> None:
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise OSError(
            f"{folder.parent}: the outputs of the teacher take {needed_bytes / 2**20:.0f} MiB, but only "
            f"{free_bytes / 2**20:.0f} MiB are free; free disk space, move the cache, or set cache.top_k"
        )
