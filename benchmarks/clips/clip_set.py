"""Decoded clips as batches of tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from benchmarks.clips.augmentation import Augmentation, Draw, draw, drawn_conditions
from benchmarks.clips.augmented import coloured, cropped, masked, moved
from benchmarks.clips.corruptions import Condition, corrupt
from benchmarks.clips.decoded import Decoded
from models.spec import ClipSpec, Modality, VideoSpec

if TYPE_CHECKING:
    from benchmarks.clips.rows import ClipRow

__all__ = ["Augmentation", "ClipSet"]


class ClipSet:
    """Decoded clips: `batch` gives a network's inputs, `labels` (int64, `N` x label columns) its targets, -1 for
    clips without labels.

    `rows` are the clips in the order of their indices; `skipped` lists the excluded files and `notes` the anomalies
    of files that were read, both as (path, text).
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
        geometries: Mapping[VideoSpec, Decoded] | None = None,
    ) -> None:
        self.spec = spec
        self.rows = list(rows)
        self.labels = labels
        self.skipped = list(skipped)
        self.notes = list(notes)
        self._values = values
        self._places = places
        """Position of each clip in the stored arrays."""
        self._conditions = list(conditions)
        """With conditions, the clips are repeated once for each of them."""
        self._geometries = dict(geometries or {})
        """Video of the same clips with other numbers of frames and pixels, for `for_spec`."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.rows)

    @property
    def digest(self) -> str:
        """Hash of everything that determines the batches and labels: decoded values, captions, classes, spec."""
        facts: list[object] = [self.spec.to_dict(), self.labels.tolist(), self._places.tolist()]
        facts += [condition and asdict(condition) for condition in self._conditions]
        for name in self.spec.inputs:
            values = self._values[name]
            facts.append(values.sha256 if isinstance(values, Decoded) else values.tolist())
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def batch(
        self, indices: Sequence[int] | Tensor, *, augmentation: Augmentation | None = None
    ) -> tuple[Tensor, ...]:
        """Inputs of the clips at `indices`, in `spec.inputs` order.

        float32 `N 3 T H W` in 0..1, float32 `N 1 M B` normalised, int64 `N L`.
        `augmentation=None` is the centre crop, as on a device.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        selection = _Selection(
            numbers=chosen % self._distinct,
            places=self._places[chosen],
            drawn=draw(augmentation, chosen % self._distinct) if augmentation else None,
            conditions=self._conditions_of(chosen, augmentation),
        )
        inputs = {"clip": self._clip, "audio": self._audio, "text": self._text}
        return tuple(inputs[name](selection) for name in self.spec.inputs)

    def subset(self, indices: Sequence[int]) -> ClipSet:
        """The clips at `indices`. The clip set must have no conditions yet."""
        assert not self._conditions
        return ClipSet(
            spec=self.spec,
            rows=[self.rows[index] for index in indices],
            labels=self.labels[list(indices)],
            values=self._values,
            places=self._places[list(indices)],
            skipped=self.skipped,
            notes=self.notes,
            geometries=self._geometries,
        )

    def with_corruptions(self, conditions: Sequence[Condition | None]) -> ClipSet:
        """The clips under each of the conditions: first all clips under the first one, then under the next.

        `None` is the clean condition.

        Raises ValueError if the clip set already has conditions.
        """
        if self._conditions or not conditions:
            raise ValueError(
                f"{len(conditions)} conditions for clips that already have {len(self._conditions)}"
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
            geometries=self._geometries,
        )

    def select(self, inputs: tuple[Modality, ...], *, labels: tuple[str, ...] | None = None) -> ClipSet:
        """The same clips with fewer modalities and label columns. Raises ValueError for an unknown one."""
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
            geometries=self._geometries,
        )

    def for_spec(self, spec: ClipSpec) -> ClipSet:
        """The same clips with the modalities, label columns, frames and pixels of a network's spec.

        Raises ValueError for video that was not decoded in this way.
        """
        chosen = self.select(spec.inputs, labels=tuple(label.name for label in spec.labels))
        if spec.video is not None and spec.video != chosen.spec.video:
            chosen._show_as(spec.video)
        return chosen

    def _show_as(self, video: VideoSpec) -> None:
        own = self.spec.video
        assert own is not None
        if _pixels(video) != _pixels(own):
            found = [one for spec, one in self._geometries.items() if _pixels(spec) == _pixels(video)]
            if not found:
                raise ValueError(
                    f"the clips were not decoded as {video.frames} frames of {video.resize} pixels; they have "
                    f"{own.frames} frames of {own.resize} pixels"
                )
            self._values = {**self._values, "clip": found[0]}
        self.spec = replace(self.spec, video=video)

    @property
    def _distinct(self) -> int:
        """Number of clips, without their repetition by conditions."""
        return len(self.rows) // max(1, len(self._conditions))

    def _conditions_of(self, chosen: np.ndarray, augmentation: Augmentation | None) -> list[Condition | None]:
        if self._conditions:
            return [self._conditions[index // self._distinct] for index in chosen]
        return drawn_conditions(augmentation, chosen) if augmentation else [None] * len(chosen)

    def _clip(self, selection: _Selection) -> Tensor:
        video, stored = self.spec.video, self._values["clip"]
        assert video is not None and isinstance(stored, Decoded)
        drawn = selection.drawn
        pixels = cropped(
            stored.values,
            selection.places,
            frames=video.frames,
            size=video.size,
            drawn=drawn,
        )
        corrupt(pixels, "clip", selection.conditions, selection.numbers)
        clip = torch.from_numpy(pixels).permute(0, 4, 1, 2, 3).contiguous().float().div_(255)
        return clip if drawn is None else coloured(clip, drawn, mean=video.mean)

    def _audio(self, selection: _Selection) -> Tensor:
        audio, stored = self.spec.audio, self._values["audio"]
        assert audio is not None and isinstance(stored, Decoded)
        sound = np.array(stored.values[selection.places])
        if selection.drawn is not None:
            sound = masked(moved(sound, selection.drawn), selection.drawn, mean=audio.mean)
        corrupt(sound, "audio", selection.conditions, selection.numbers)
        return torch.from_numpy(sound).sub_(audio.mean).div_(audio.std).unsqueeze(1)

    def _text(self, selection: _Selection) -> Tensor:
        stored = self._values["text"]
        assert isinstance(stored, np.ndarray)
        captions = stored[selection.places]
        corrupt(captions, "text", selection.conditions, selection.numbers, captions=stored)
        return torch.from_numpy(captions)


def _pixels(video: VideoSpec) -> tuple[object, ...]:
    """What determines the decoded pixels."""
    return video.frames, video.resize, video.sampling, video.stride if video.sampling == "strided" else 1


@dataclass(frozen=True, kw_only=True)
class _Selection:
    """The clips of one batch: their indices, stored positions, augmentation and corruptions."""

    numbers: np.ndarray
    places: np.ndarray
    drawn: Draw | None
    conditions: list[Condition | None]
