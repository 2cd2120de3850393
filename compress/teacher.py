"""The teacher: asked once per clip and view, and its answers kept."""

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
from compress.criterion import Answers
from compress.features import WithFeatures
from compress.store import one_at_a_time, stored, write_atomic
from compress.teacher_answers import require_finite_answers
from compress.training import FLOAT_BATCH, logits_of

_ANSWERS = "answers.safetensors"


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """A trained network that is only asked, never changed."""

    artifact: Artifact
    key: str
    """Content hash of what made it; its cached answers are found by it."""

    def answers(
        self,
        clips: ClipSet,
        *,
        view: Augmentation | None,
        device: torch.device,
        cache: Path,
        console: Console,
        features: tuple[str, ...] = (),
    ) -> Answers:
        """Logits `N K` per label column of every clip in one view, and the features that are named
        (`compress.features`): computed once, then read from `cache`.

        `clips` has the inputs of the whole data set; the teacher is given those that it takes. What it answers to
        tags and retrieval is not kept. Raises `ValueError` for answers that are not finite.
        """
        spec = self.artifact.spec
        clips = clips.for_spec(spec)
        asked = f"{self.key} {clips.digest} {view}" + (f" {features}" if features else "")
        name = hashlib.sha256(asked.encode()).hexdigest()[:32]
        folder = cache / "teacher" / name
        title = "teacher answers" + (f", view {view.number + 1}" if view else "")
        count, network = len(spec.labels), self.artifact.model
        if features:
            network = WithFeatures(network, features, columns=count)

        def tell(sentence: str) -> None:
            console.print(sentence, markup=False, highlight=False, soft_wrap=True)

        def make(work: Path) -> None:
            with bar(console, title) as report:
                columns = logits_of(
                    network, clips, batch=FLOAT_BATCH, device=device, view=view, report=report
                )[: count + len(features)]
            names = [str(row.path) for row in clips.rows]
            require_finite_answers(columns[:count], spec, names=names)
            content = save({str(k): column.contiguous() for k, column in enumerate(columns)})
            write_atomic(work / _ANSWERS, content)

        def load(finished: Path) -> Answers:
            columns = load_file(finished / _ANSWERS)
            found = tuple(columns[str(k)] for k in range(len(columns)))
            return Answers(logits=found[:count], features=dict(zip(features, found[count:], strict=True)))

        with one_at_a_time(folder, waiting=lambda who: tell(f"{title}: waiting for {who}")):
            return stored(
                folder, key=name, make=make, load=load, names=(_ANSWERS,), title=title, tell=tell
            ).value
