"""Decoded clips as batches of tensors, stored once on disk (signatures; the body follows)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from benchmarks.clips.rows import ClipRow
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class View:
    """One deterministic augmentation of every clip: view `number` of the family that `seed` names."""

    number: int
    seed: int


class ClipSet:
    """Clips of one split, decoded; `batch` gives inputs of a network, `labels` its targets."""

    spec: ClipSpec
    rows: list[ClipRow]
    labels: torch.LongTensor
    skipped: list[tuple[Path, str]]
    notes: list[tuple[Path, str]]
    digest: str

    def __len__(self) -> int:
        """Number of clips."""
        raise NotImplementedError

    def batch(self, indices: Sequence[int] | Tensor, *, view: View | None = None) -> tuple[Tensor, ...]:
        """Inputs of the clips at `indices`, in `spec.inputs` order; `view=None` is the centre cut a device gets."""
        raise NotImplementedError

    def only(self, inputs: tuple[str, ...]) -> ClipSet:
        """The same clips with fewer modalities."""
        raise NotImplementedError


def open_clips(
    rows: Sequence[ClipRow],
    spec: ClipSpec,
    *,
    cache: Path,
    workers: int = 0,
    unreadable: Literal["refuse", "skip"] = "refuse",
    missing_audio: Literal["refuse", "silence"] = "refuse",
    progress: Callable[[int, int], None] | None = None,
) -> ClipSet:
    """The clips of `rows`, decoded by `spec` or taken from `cache`."""
    raise NotImplementedError
