"""Estimates the statistics of BatchNorms again after a cut."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.clips.clip_set import ClipSet
from models.layers import BatchNorm

MOST_BATCHES = 100


def estimate_statistics(
    model: nn.Module, clips: ClipSet, *, batch: int, device: torch.device, seed: int
) -> int:
    """Replaces the running mean and variance of every BatchNorm by those of training clips; returns the number of
    clips.

    The statistics of a layer change when channels before it are removed, although its weights do not. The mean over
    up to 100 whole batches in random order, centre crops, with all else in eval mode, as in
    `torch.optim.swa_utils.update_bn`. Li et al. 2020, "EagleEye", section 3.3, show that without this step the
    accuracy of pruned networks is not comparable. Returns 0 for a network without BatchNorm.
    """
    norms = [
        module for module in model.modules() if isinstance(module, BatchNorm) and module.track_running_stats
    ]
    if not norms:
        return 0
    size = min(batch, len(clips))
    count = min(len(clips) // size, MOST_BATCHES)
    momenta = [norm.momentum for norm in norms]
    model.to(device).eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(seed)).tolist()
    with torch.no_grad():
        for start in range(0, count * size, size):
            model(*(one.to(device) for one in clips.batch(order[start : start + size])))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return count * size
