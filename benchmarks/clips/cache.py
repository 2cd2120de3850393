"""Clips as batches of tensors, decoded once and kept on disk."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.clips.corruptions import Condition, corrupt
from benchmarks.clips.frames import FrameRule
from benchmarks.clips.limits import USUAL, Limits
from benchmarks.clips.rows import ClipRow, listed
from benchmarks.clips.sound import SoundRule
from benchmarks.clips.store import Decoded, decoded
from benchmarks.clips.text import tokens
from benchmarks.clips.views import Draw, View, draw, drawn_conditions, moved
from compress.folders.results import Tell, tell_stderr
from models.spec import ClipSpec, Modality

__all__ = ["ClipSet", "UnreadableClips", "View", "open_clips"]


MAX_UNREADABLE_SHARE = 0.05
"""Share of the clips that may be left out because they cannot be read, unless another one is given."""


class UnreadableClips(ValueError):
    """Clips that cannot be read: all of them, as (path, reason).

    With `allowed_share` they are too many to be left out.
    """

    def __init__(
        self, found: Sequence[tuple[Path, str]], *, clips: int, allowed_share: float | None = None
    ) -> None:
        self.found = list(found)
        lines = [
            f"{path}: {reason}" + (f" ({count} clips)" if count > 1 else "")
            for (path, reason), count in Counter(self.found).items()
        ]
        head = f"{len(self.found)} of {clips} clips cannot be read"
        advice = "repair these files, take their rows out, or leave them out with `unreadable: skip`"
        if allowed_share is not None:
            head += f" ({len(self.found) / clips:.1%}), more than may be left out ({allowed_share:.1%})"
            lines = by_reason(self.found)
            advice = "repair these files, take their rows out, or raise `max_unreadable_share`"
        super().__init__(f"{head}\n{listed(lines)}\n{advice}")


def by_reason(found: Sequence[tuple[Path, str]]) -> list[str]:
    """How many clips cannot be read for which reason, the most frequent first, each with its first file.

    >>> by_reason([(Path("a"), "is empty"), (Path("b"), "no such file"), (Path("c"), "is empty")])
    ['2 clips: is empty (first: a)', '1 clip: no such file (first: b)']
    """
    counts = Counter(reason for _, reason in found)
    first = {reason: path for path, reason in reversed(found)}
    return [
        f"{count} clip{'s' * (count > 1)}: {reason} (first: {first[reason]})"
        for reason, count in counts.most_common()
    ]


class ClipSet:
    """Decoded clips: `batch` gives a network's inputs, `labels` (int64, `N` x label columns) its targets.

    `rows` are the clips in the order of their indices; `skipped` has those that were left out, and `notes` what is
    odd about files that were read, both as (path, text).
    """

    def __init__(
        self,
        *,
        spec: ClipSpec,
        rows: Sequence[ClipRow],
        labels: Tensor,
        values: dict[Modality, Decoded | np.ndarray],
        places: np.ndarray,
        skipped: Sequence[tuple[Path, str]] = (),
        notes: Sequence[tuple[Path, str]] = (),
        conditions: Sequence[Condition | None] = (),
    ) -> None:
        self.spec = spec
        self.rows = list(rows)
        self.labels = labels
        self.skipped = list(skipped)
        self.notes = list(notes)
        self._values = values
        self._places = places
        """Where the values of each clip stand in the stored arrays."""
        self._conditions = list(conditions)
        """With conditions, the clips stand there once for each of them."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.rows)

    @property
    def digest(self) -> str:
        """Hash of all that can change the batches or the labels: files, cuts, captions, classes, spec."""
        facts: list[object] = [self.spec.to_dict(), self.labels.tolist(), self._places.tolist()]
        facts += [condition and asdict(condition) for condition in self._conditions]
        for name in self.spec.inputs:
            values = self._values[name]
            facts.append(values.key if isinstance(values, Decoded) else values.tolist())
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def batch(self, indices: Sequence[int] | Tensor, *, view: View | None = None) -> tuple[Tensor, ...]:
        """Inputs of the clips at `indices`, in `spec.inputs` order.

        float32 `N 3 T H W` in 0..1, float32 `N 1 M B` normalised, int64 `N L`.
        `view=None` is the middle cut without any change, which is what a device gets.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        asked = _Asked(
            numbers=chosen % self._distinct,
            places=self._places[chosen],
            drawn=draw(view, chosen % self._distinct) if view else None,
            conditions=self._conditions_of(chosen, view),
        )
        inputs = {"clip": self._clip, "audio": self._audio, "text": self._text}
        return tuple(inputs[name](asked) for name in self.spec.inputs)

    def take(self, indices: Sequence[int]) -> ClipSet:
        """The clips at `indices` alone; they have to be under no conditions yet."""
        assert not self._conditions
        return ClipSet(
            spec=self.spec,
            rows=[self.rows[index] for index in indices],
            labels=self.labels[list(indices)],
            values=self._values,
            places=self._places[list(indices)],
            skipped=self.skipped,
            notes=self.notes,
        )

    def under(self, conditions: Sequence[Condition | None]) -> ClipSet:
        """Every clip under each of the conditions: first all clips under the first one, then under the next.

        `None` leaves them clean.

        Raises ValueError for clips that are under conditions already.
        """
        if self._conditions or not conditions:
            raise ValueError(
                f"{len(conditions)} conditions for clips that have {len(self._conditions)} already"
            )
        return ClipSet(
            spec=self.spec,
            rows=self.rows * len(conditions),
            labels=self.labels.repeat(len(conditions), 1),
            values=self._values,
            places=np.tile(self._places, len(conditions)),
            skipped=self.skipped,
            notes=self.notes,
            conditions=conditions,
        )

    def only(self, inputs: tuple[Modality, ...], *, labels: tuple[str, ...] | None = None) -> ClipSet:
        """The same clips with fewer modalities and label columns. Raises ValueError for one that there is not."""
        spec = self.spec.only(inputs, labels=labels)
        places = [self.spec.labels.index(label) for label in spec.labels]
        return ClipSet(
            spec=spec,
            rows=self.rows,
            labels=self.labels[:, places],
            values={name: self._values[name] for name in inputs},
            places=self._places,
            skipped=self.skipped,
            notes=self.notes,
            conditions=self._conditions,
        )

    def seen_by(self, spec: ClipSpec) -> ClipSet:
        """The same clips with the modalities and label columns of a network's spec."""
        return self.only(spec.inputs, labels=tuple(label.name for label in spec.labels))

    @property
    def _distinct(self) -> int:
        """Number of clips, each counted under one condition alone."""
        return len(self.rows) // max(1, len(self._conditions))

    def _conditions_of(self, chosen: np.ndarray, view: View | None) -> list[Condition | None]:
        if self._conditions:
            return [self._conditions[index // self._distinct] for index in chosen]
        return drawn_conditions(view, chosen) if view else [None] * len(chosen)

    def _clip(self, asked: _Asked) -> Tensor:
        video, stored = self.spec.video, self._values["clip"]
        assert video is not None and isinstance(stored, Decoded)
        room, drawn = video.resize - video.size, asked.drawn
        if drawn is None:
            tops = lefts = np.full(len(asked.places), room // 2)
        else:
            tops, lefts = (np.minimum(at * (room + 1), room).astype(int) for at in (drawn.top, drawn.left))
        pixels = np.empty((len(asked.places), video.frames, video.size, video.size, 3), np.uint8)
        for cut, place, top, left in zip(pixels, asked.places, tops, lefts, strict=True):
            cut[:] = stored.values[place, :, top : top + video.size, left : left + video.size]
        corrupt(pixels, "clip", asked.conditions, asked.numbers)
        clip = torch.from_numpy(pixels).permute(0, 4, 1, 2, 3).contiguous().float().div_(255)
        if drawn is not None:
            contrast, brightness = (
                torch.from_numpy(each).float().view(-1, 1, 1, 1, 1)
                for each in (drawn.contrast, drawn.brightness)
            )
            clip.sub_(0.5).mul_(contrast).add_(0.5 + brightness).clamp_(0, 1)
        return clip

    def _audio(self, asked: _Asked) -> Tensor:
        audio, stored = self.spec.audio, self._values["audio"]
        assert audio is not None and isinstance(stored, Decoded)
        sound = np.array(stored.values[asked.places])
        if asked.drawn is not None:
            sound = moved(sound, asked.drawn)
        corrupt(sound, "audio", asked.conditions, asked.numbers)
        return torch.from_numpy(sound).sub_(audio.mean).div_(audio.std).unsqueeze(1)

    def _text(self, asked: _Asked) -> Tensor:
        stored = self._values["text"]
        assert isinstance(stored, np.ndarray)
        captions = stored[asked.places]
        corrupt(captions, "text", asked.conditions, asked.numbers, captions=stored)
        return torch.from_numpy(captions)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The clips of one batch: their own numbers, where they are stored, and what is done to them."""

    numbers: np.ndarray
    places: np.ndarray
    drawn: Draw | None
    conditions: list[Condition | None]


def open_clips(
    rows: Sequence[ClipRow],
    spec: ClipSpec,
    *,
    cache: Path,
    workers: int = 0,
    unreadable: Literal["refuse", "skip"] = "refuse",
    max_unreadable_share: float = MAX_UNREADABLE_SHARE,
    missing_audio: Literal["refuse", "silence"] = "refuse",
    limits: Limits = USUAL,
    progress: Callable[[int, int], None] | None = None,
    tell: Tell = tell_stderr,
) -> ClipSet:
    """The clips of `rows` as `spec` wants them, decoded in `workers` processes or found in the folder `cache`.

    `workers=0` decodes in this process; the values do not depend on it. `progress` is called with what is done and
    what there is to do, `tell` with a sentence where another run has to be waited for or stored clips are damaged.

    Files that ask for more than `limits` cannot be read. Without workers nothing bounds the memory of decoders.

    Raises `UnreadableClips` listing every clip that cannot be read (with `skip`: only when they are more than
    `max_unreadable_share` of the clips, or all), and
    ValueError for rows whose class is not one of the spec's, or when captions are wanted and there are none.
    """
    if not rows:
        raise ValueError("there are no clips to open")
    labels = _labels(rows, spec)
    steps = (spec.video is not None) + (spec.audio is not None)
    finished = 0

    def report(done: int, total: int) -> None:
        if progress:
            progress(finished * total + done, steps * total)

    values: dict[Modality, Decoded | np.ndarray] = {}
    report(0, len(rows))
    if spec.video:
        rule = FrameRule.of(spec.video)
        values["clip"] = decoded(
            rows, rule, cache=cache, workers=workers, report=report, limits=limits, tell=tell
        )
        finished += 1
    if spec.audio:
        sound = SoundRule.of(spec.audio, missing=missing_audio)
        values["audio"] = decoded(
            rows, sound, cache=cache, workers=workers, report=report, limits=limits, tell=tell
        )
    stored = [each for each in values.values() if isinstance(each, Decoded)]
    refused = {number: reason for each in reversed(stored) for number, reason in each.refused.items()}
    skipped = [(rows[number].path, refused[number]) for number in sorted(refused)]
    if skipped and (unreadable == "refuse" or len(skipped) == len(rows)):
        raise UnreadableClips(skipped, clips=len(rows))
    if len(skipped) > max_unreadable_share * len(rows):
        raise UnreadableClips(skipped, clips=len(rows), allowed_share=max_unreadable_share)
    if spec.text:
        captions = [row.text for row in rows]
        if not any(captions):
            raise ValueError("the network takes captions (input `text`), but no clip has one")
        values["text"] = tokens(captions, spec.text)
    places = np.array([number for number in range(len(rows)) if number not in refused])
    return ClipSet(
        spec=spec,
        rows=[rows[place] for place in places],
        labels=labels[places],
        values=values,
        places=places,
        skipped=skipped,
        notes=list(dict.fromkeys(note for each in stored for note in each.notes)),
    )


def _labels(rows: Sequence[ClipRow], spec: ClipSpec) -> Tensor:
    """Class numbers, int64 `N` x label columns."""
    columns = []
    for label in spec.labels:
        numbers = {name: number for number, name in enumerate(label.classes)}
        given = Counter(row.labels.get(label.name, "") for row in rows)
        faults = [
            f"{name!r} ({count} clips)" if name else f"none ({count} clips)"
            for name, count in sorted(given.items())
            if name not in numbers
        ]
        if faults:
            raise ValueError(
                f"label {label.name!r}: {len(faults)} classes that the network does not know\n{listed(faults)}\n"
                f"it knows {', '.join(label.classes)}; leave other rows out"
            )
        columns.append([numbers[row.labels[label.name]] for row in rows])
    return torch.tensor(columns, dtype=torch.int64).T.contiguous()
