"""The teacher: runs once per clip and augmentation, with cached outputs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import load_file, save

from benchmarks.clips.clip_set import Augmentation, ClipSet
from compress.artifact import Artifact
from compress.command.progress import bar
from compress.criterion import Outputs
from compress.features import WithFeatures
from compress.store import one_at_a_time, stored, write_atomic
from compress.teacher_check import require_finite_logits
from compress.training import FLOAT_BATCH, logits_of

_OUTPUTS = "outputs.safetensors"


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained network in inference mode."""

    artifact: Artifact
    key: str
    """Content hash of its training, the key of its cached outputs."""

    def outputs(
        self,
        clips: ClipSet,
        *,
        augmentation: Augmentation | None,
        device: torch.device,
        cache: Path,
        console: Console,
        features: tuple[str, ...] = (),
    ) -> Outputs:
        """Logits `N K` per label column and the named features (`compress.features`) of all clips under one
        augmentation: computed once, then read from `cache`.

        `clips` has the inputs of the whole data set, of which the teacher uses its own. Outputs for tags and
        retrieval are not stored. Raises `ValueError` for non-finite logits.
        """
        spec = self.artifact.spec
        clips = clips.for_spec(spec)
        parts = f"{self.key} {clips.digest} {augmentation}" + (f" {features}" if features else "")
        name = hashlib.sha256(parts.encode()).hexdigest()[:32]
        folder = cache / "teacher" / name
        title = "teacher logits" + (f", augmentation {augmentation.number + 1}" if augmentation else "")
        count, network = len(spec.labels), self.artifact.model
        if features:
            network = WithFeatures(network, features, columns=count)

        def notify(sentence: str) -> None:
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)

        def make(work: Path) -> None:
            with bar(console, title) as report:
                columns = logits_of(
                    network, clips, batch=FLOAT_BATCH, device=device, augmentation=augmentation, report=report
                )[: count + len(features)]
            names = [str(row.path) for row in clips.rows]
            require_finite_logits(columns[:count], spec, names=names)
            content = save({str(k): column.contiguous() for k, column in enumerate(columns)})
            write_atomic(work / _OUTPUTS, content)

        def load(finished: Path) -> Outputs:
            columns = load_file(finished / _OUTPUTS)
            found = tuple(columns[str(k)] for k in range(len(columns)))
            return Outputs(logits=found[:count], features=dict(zip(features, found[count:], strict=True)))

        with one_at_a_time(folder, waiting=lambda holder: notify(f"{title}: waiting for {holder}")):
            return stored(
                folder, key=name, make=make, load=load, names=(_OUTPUTS,), title=title, notify=notify
            ).value
