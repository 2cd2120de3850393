"""Mixes the clips of a batch with each other: mixup and CutMix.

Sources: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization"; Yun et al. 2019, "CutMix: Regularization
Strategy to Train Strong Classifiers with Localizable Features".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.clips.augmentation import AugmentationSettings
from models.spec import ClipSpec

_MIXING = 77
"""Tells these random numbers from those of single clips."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How the clips of a batch are mixed: every clip has a partner in the batch."""

    partners: tuple[int, ...]
    """Position of the partner of each clip in the batch."""
    share: float
    """Share of the clip itself, in 0..1; its partner has the rest."""
    box: tuple[float, float, float, float] | None = None
    """CutMix: top, left, bottom and right of the rectangle of the partner, in 0..1; None mixes all pixels."""


def drawn_mix(
    settings: AugmentationSettings, spec: ClipSpec, *, clips: int, seed: int, epoch: int, step: int
) -> Mix | None:
    """The mix of the batch `step` of an epoch; None without mixup and CutMix."""
    if not settings.mixes:
        return None
    random = np.random.default_rng((seed, epoch, step, _MIXING))
    kinds = [alpha for alpha in (settings.mixup, settings.cutmix) if alpha is not None]
    chosen = random.integers(len(kinds))
    share = float(random.beta(kinds[chosen], kinds[chosen]))
    partners = tuple(random.permutation(clips).tolist())
    if settings.mixup is not None and chosen == 0:
        return Mix(partners=partners, share=share)
    assert spec.video is not None
    size = spec.video.size
    half, centre = np.sqrt(1 - share) * size / 2, random.random(2) * size
    top, left = np.rint(centre - half).astype(int).clip(0, size)
    bottom, right = np.rint(centre + half).astype(int).clip(0, size)
    return Mix(
        partners=partners,
        share=1 - float((bottom - top) * (right - left)) / size**2,
        box=tuple(float(edge) / size for edge in (top, left, bottom, right)),  # type: ignore[arg-type]
    )


def mixed(inputs: tuple[Tensor, ...], mix: Mix, spec: ClipSpec) -> tuple[Tensor, ...]:
    """The inputs of a network of `spec` in which every clip is mixed with its partner.

    CutMix replaces pixels and mixes audio by its share. Raises `ValueError` for captions, which cannot be mixed.
    """
    if "text" in spec.inputs:
        raise ValueError("captions cannot be mixed with each other; the network must not take text")
    partners = torch.tensor(mix.partners, device=inputs[0].device)
    found = []
    for name, own in zip(spec.inputs, inputs, strict=True):
        other = own[partners]
        if name != "clip" or mix.box is None:
            found.append(other.lerp(own, mix.share))
            continue
        top, left, bottom, right = (round(edge * own.shape[-1]) for edge in mix.box)
        pasted = own.clone()
        pasted[..., top:bottom, left:right] = other[..., top:bottom, left:right]
        found.append(pasted)
    return tuple(found)
