"""BatchNorm statistics for untrained networks, for realistic activations.

In an initialised network, BatchNorms are the identity (mean 0, variance 1, gamma 1, beta 0), so that activations
grow or vanish from layer to layer, folding a BatchNorm has no effect, and quantization ranges are unrealistic.
Measure speed, float parity and ranges of random weights only after `settle_statistics`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers import BatchNorm
from models.spec import ClipSpec

_GAMMA = (0.5, 1.5)
_BETA_DEVIATION = 0.2
_OCTAVES = 4
_CONTRAST = (0.1, 0.3)
"""Standard deviation of pixels."""
_BRIGHTNESS = (0.3, 0.7)
"""Mean of pixels, in each colour."""


def settle_statistics(model: nn.Module, spec: ClipSpec, *, seed: int = 0, clips: int = 8) -> int:
    """Sets weights and running statistics of all BatchNorms of `model`; returns their number. Sets eval mode.

    Gamma is uniform in 0.5 to 1.5 and beta normal with standard deviation 0.2. One pass over `clips` random clips,
    in which each BatchNorm normalises by the batch, then sets running means and variances. Since the input of each
    layer is already normalised, the statistics are consistent, and activations keep their scale at any depth.
    Dropout is off, and convolutions are unchanged. The same seed gives the same network; a network without
    BatchNorm is unchanged.

    Raises `ValueError` for fewer than two clips, which have no variance.
    """
    if clips < 2:
        raise ValueError(f"{clips} clip has no variance to measure: use at least 2 clips")
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    model.eval()
    momenta = [norm.momentum for norm in norms]
    with torch.no_grad():
        for norm in norms:
            if norm.affine:
                norm.weight.copy_(torch.empty(norm.num_features).uniform_(*_GAMMA, generator=generator))
                norm.bias.copy_(torch.randn(norm.num_features, generator=generator) * _BETA_DEVIATION)
            norm.reset_running_stats()
            norm.train()
            norm.momentum = None  # cumulative average, here over one batch
        model(*random_inputs(spec, batch=clips, seed=seed))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return len(norms)


def random_inputs(spec: ClipSpec, *, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Inputs in `forward`'s order whose video resembles natural images: smooth moving shapes, and detail.

    A clip is a sum of noise at several resolutions, from patches of eight pixels and frames to full detail, with
    weights that vary between clips: without this variation, the last layers of a deep network would have nearly
    equal inputs for all clips, and their variances would vanish. Audio and text are those of `spec.example`.
    """
    inputs = list(spec.example(batch=batch, seed=seed))
    if "clip" in spec.inputs:
        shape = spec.shape("clip", batch=batch)
        inputs[spec.inputs.index("clip")] = _pictures(shape, torch.Generator().manual_seed(seed))
    return tuple(inputs)


def _pictures(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Clips `N 3 T H W` in 0..1 with random brightness, contrast and share of detail."""
    per_clip = (shape[0], 1, 1, 1, 1)

    def between(least: float, most: float, *size: int) -> Tensor:
        return torch.empty(size).uniform_(least, most, generator=generator)

    picture, power = torch.zeros(shape), torch.zeros(per_clip)
    for octave in range(_OCTAVES):
        coarse = [-(-size // 2**octave) for size in shape[2:]]
        noise = torch.randn(*shape[:2], *coarse, generator=generator)
        strength = between(0, 1, *per_clip)
        picture += strength * functional.interpolate(noise, size=shape[2:], mode="nearest")
        power += strength.square()
    contrast, brightness = between(*_CONTRAST, *per_clip), between(*_BRIGHTNESS, *shape[:2], 1, 1, 1)
    return (brightness + contrast * picture / power.sqrt()).clamp(0, 1)
