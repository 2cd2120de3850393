"""Clips as batches of tensors, decoded once and cached on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.clips.clip_set import Augmentation, ClipSet
from benchmarks.clips.decoded import Decoded
from benchmarks.clips.frames import FrameRule
from benchmarks.clips.limits import USUAL, Limits
from benchmarks.clips.rows import UNLABELED, ClipRow, listed
from benchmarks.clips.sound import AudioRule
from benchmarks.clips.store import decoded
from benchmarks.clips.text import tokens
from compress.folders.contents import INDEX, contents_of
from compress.folders.results import Notify, notify_stderr
from models.spec import ClipSpec, Modality, VideoSpec

__all__ = ["Augmentation", "ClipSet", "UnreadableClips", "open_clips"]


MAX_UNREADABLE_SHARE = 0.05
"""Default of the largest share of unreadable clips that may be excluded."""


class UnreadableClips(ValueError):
    """Unreadable clips, all of them, as (path, reason).

    With `allowed_share`, they exceed the share that may be excluded.
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
        advice = "repair these files, remove their rows, or exclude them with `unreadable: skip`"
        if allowed_share is not None:
            head += f" ({len(self.found) / clips:.1%}), more than the allowed share ({allowed_share:.1%})"
            lines = by_reason(self.found)
            advice = "repair these files, remove their rows, or raise `max_unreadable_share`"
        super().__init__(f"{head}\n{listed(lines)}\n{advice}")


def by_reason(found: Sequence[tuple[Path, str]]) -> list[str]:
    """The number of unreadable clips by reason, most frequent first, each with its first file.

    >>> by_reason([(Path("a"), "is empty"), (Path("b"), "no such file"), (Path("c"), "is empty")])
    ['2 clips: is empty (first: a)', '1 clip: no such file (first: b)']
    """
    counts = Counter(reason for _, reason in found)
    first = {reason: path for path, reason in reversed(found)}
    return [
        f"{count} clip{'s' * (count > 1)}: {reason} (first: {first[reason]})"
        for reason, count in counts.most_common()
    ]


def open_clips(
    rows: Sequence[ClipRow],
    spec: ClipSpec,
    *,
    cache: Path,
    margin: int = 0,
    workers: int = 0,
    unreadable: Literal["refuse", "skip"] = "refuse",
    max_unreadable_share: float = MAX_UNREADABLE_SHARE,
    missing_audio: Literal["refuse", "silence"] = "refuse",
    limits: Limits = USUAL,
    also: Sequence[VideoSpec] = (),
    contents: Mapping[Path, str | None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    notify: Notify = notify_stderr,
) -> ClipSet:
    """The clips of `rows`, preprocessed by `spec`, decoded in `workers` processes or read from the folder `cache`.

    With a `margin`, every clip has this many further frames before and after for augmentations
    (`benchmarks.clips.frames`).

    `workers=0` decodes in this process; the values do not depend on it. `progress` is called with the number of
    decoded clips and their total, `notify` with a message when it waits for another run or stored clips are
    damaged.

    `also` are further numbers of frames and pixels in which the video is decoded, for `ClipSet.for_spec`. A clip
    that cannot be read in one of them is excluded from all.

    The cache is keyed by the content of the files, not by their paths. Pass `contents`, the SHA-256 of all files,
    if it is already known.

    Files that exceed `limits` cannot be read. Without workers, the memory of decoders is unbounded.

    Raises `UnreadableClips` with every unreadable clip (with `skip`: only if they exceed `max_unreadable_share` of
    the clips, or are all of them), and ValueError for rows with an unknown class and for missing captions.
    """
    if not rows:
        raise ValueError("there are no clips to open")
    labels = _labels(rows, spec)
    own = None if spec.video is None else FrameRule.of(spec.video, margin=margin)
    of_others = {
        video: FrameRule.of(video, margin=round(margin * video.frames / own.frames)) for video in also if own
    }
    others = [rule for rule in dict.fromkeys(of_others.values()) if rule != own]
    steps = (spec.video is not None) + (spec.audio is not None) + len(others)

    def report(finished: int, done: int, total: int) -> None:
        if progress:
            progress(finished * total + done, steps * total)

    if contents is None:
        contents = contents_of((row.path for row in rows), index=cache / INDEX)
    values: dict[Modality, Decoded | np.ndarray] = {}
    report(0, 0, len(rows))
    rules: dict[Modality | FrameRule, FrameRule | AudioRule] = {}
    if own:
        rules["clip"] = own
    if spec.audio:
        rules["audio"] = AudioRule.of(spec.audio, missing=missing_audio)
    rules |= {rule: rule for rule in others}
    read: dict[Modality | FrameRule, Decoded] = {}
    for finished, (name, rule) in enumerate(rules.items()):
        read[name] = decoded(
            rows,
            rule,
            contents=contents,
            cache=cache,
            workers=workers,
            report=partial(report, finished),
            limits=limits,
            notify=notify,
        )
    stored = list(read.values())
    geometries = {video: read[rule] for video, rule in of_others.items() if rule != own}
    values |= {name: each for name, each in read.items() if not isinstance(name, FrameRule)}
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
        geometries=geometries,
    )


def _labels(rows: Sequence[ClipRow], spec: ClipSpec) -> Tensor:
    """Class indices, int64 `N` x label columns; -1 for clips of the split `unlabeled`."""
    columns = []
    for label in spec.labels:
        numbers = {name: number for number, name in enumerate(label.classes)}
        given = Counter(row.labels.get(label.name, "") for row in rows if row.split != UNLABELED)
        faults = [
            f"{name!r} ({count} clips)" if name else f"none ({count} clips)"
            for name, count in sorted(given.items())
            if name not in numbers
        ]
        if faults:
            raise ValueError(
                f"label {label.name!r}: {len(faults)} classes unknown to the network\n{listed(faults)}\n"
                f"known: {', '.join(label.classes)}; exclude other rows"
            )
        columns.append([-1 if row.split == UNLABELED else numbers[row.labels[label.name]] for row in rows])
    return torch.tensor(columns, dtype=torch.int64).T.contiguous()
