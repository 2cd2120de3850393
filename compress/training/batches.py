"""The batches of a training, in an order and with augmentations that depend on the seed and the epoch alone."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Generator, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.clips.clip_set import Augmentation, ClipSet
from benchmarks.clips.mixing import drawn_mix, mixed
from compress.criterion import Batch
from compress.training.config import TrainConfig

Inputs = tuple[Tensor, ...]

_MOST_WORKERS = 8


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of an epoch; seeds of torch have 64 bits."""
    return (seed * 100_003 + epoch) % 2**63


def augmentations_of(config: TrainConfig, *, seed: int) -> tuple[Augmentation | None, ...]:
    """The distinct clean augmentations of a training with this seed, `views: fresh` in every epoch another one."""
    views = (_augmentation(config, seed=seed, epoch=epoch) for epoch in range(config.epochs))
    return tuple(dict.fromkeys(augmentation and augmentation.clean for augmentation in views))


def planned(clips: ClipSet, *, size: int, config: TrainConfig, seed: int, epoch: int) -> Iterator[Batch]:
    """The batches of an epoch; the incomplete last one is dropped."""
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    order = torch.randperm(len(clips), generator=generator).tolist()
    augmentation = _augmentation(config, seed=seed, epoch=epoch)
    for step, start in enumerate(range(0, len(clips) - size + 1, size)):
        indices = order[start : start + size]
        mix = None
        if augmentation is not None:
            mix = drawn_mix(augmentation.settings, clips.spec, clips=size, seed=seed, epoch=epoch, step=step)
        yield Batch(indices=indices, augmentation=augmentation, labels=clips.labels[indices], mix=mix)


def loaded(
    clips: ClipSet, batches: Iterator[Batch], *, device: torch.device, workers: int | None = None
) -> Generator[tuple[Batch, Inputs]]:
    """Yields every batch with its inputs, in order, prepared ahead by `workers` processes; 0 uses this process.

    By default, a training on a GPU has up to eight workers, and one on a CPU none: its cores compute, and clips of
    the memory-mapped cache are ready in milliseconds.
    """
    if workers is None:
        forks = device.type == "cuda" and "fork" in multiprocessing.get_all_start_methods()
        workers = min(_MOST_WORKERS, (os.cpu_count() or 1) - 1) if forks else 0
    loader = DataLoader(
        _Prepared(clips),
        sampler=batches,  # type: ignore[arg-type]
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        # Forked workers share the memory map; a pickled one would be a copy of all clips.
        multiprocessing_context="fork" if workers else None,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),  # leaves the global generator to the network
    )
    yield from loader


class _Prepared(Dataset[tuple[Batch, Inputs]]):
    """The inputs of a batch, as a data set whose indices are batches."""

    def __init__(self, clips: ClipSet) -> None:
        self._clips = clips

    def __getitem__(self, batch: Batch) -> tuple[Batch, Inputs]:
        inputs = self._clips.batch(batch.clips, augmentation=batch.augmentation)
        return batch, inputs if batch.mix is None else mixed(inputs, batch.mix, self._clips.spec)


def _as_it_is(prepared: Any) -> Any:
    return prepared


def placed(inputs: Inputs, device: torch.device) -> Inputs:
    """Moves inputs to the device; video is channels-last, which halves the time of a Conv3d step on a CPU."""
    return tuple(
        x.to(device, memory_format=torch.channels_last_3d, non_blocking=True)
        if x.dim() == 5 and device.type != "mps"
        else x.to(device, non_blocking=True)
        for x in inputs
    )


def _augmentation(config: TrainConfig, *, seed: int, epoch: int) -> Augmentation | None:
    if not config.views:
        return None
    number = epoch if config.views == "fresh" else epoch % config.views
    return Augmentation(
        number=number, seed=seed, corruptions=config.corruptions, settings=config.augmentation
    )
