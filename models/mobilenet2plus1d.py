"""MobileNet (2+1)D: MobileNetV2 with depthwise convolutions factorised in space, then time.

The architecture is Pocketreel's: channels, expansions and repeats of Sandler et al. 2018, "MobileNetV2", the
strides in time of Köpüklü et al. 2019, "Resource Efficient 3D Convolutional Neural Networks", and the
factorisation of Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions for Action Recognition", with
BatchNorm and ReLU6 after each half. A depthwise layer has 9 + 3 weights a channel instead of 27, and no
convolution spans three dimensions.
"""

from __future__ import annotations

from models.mobilenet3d import (
    MOBILENET_V2,
    TINY,
    Blocks,
    MobileNet3d,
    MobileNet3dOptions,
    inverted_residuals,
)
from models.spec import ClipSpec

_SMALL: tuple[Blocks, ...] = (
    Blocks(expand=1, channels=24, repeats=1, stride=(1, 2, 2)),
    Blocks(expand=4, channels=32, repeats=2, stride=(2, 2, 2)),
    Blocks(expand=4, channels=64, repeats=2, stride=(2, 2, 2)),
)


def mobilenet2plus1d(spec: ClipSpec, options: MobileNet3dOptions) -> MobileNet3d:
    """The blocks of 3D-MobileNetV2, factorised, scaled by `options.width`."""
    return inverted_residuals(
        spec,
        options,
        blocks=MOBILENET_V2,
        stem=32,
        head=1280,
        audio_channels=(16, 32, 64, 128),
        factorised=True,
    )


def mobilenet2plus1d_small(spec: ClipSpec, options: MobileNet3dOptions) -> MobileNet3d:
    """Three stages, for clips of 8 small frames and training on a CPU."""
    return inverted_residuals(
        spec, options, blocks=_SMALL, stem=16, head=256, audio_channels=(16, 32, 64, 128), factorised=True
    )


def mobilenet2plus1d_tiny(spec: ClipSpec, options: MobileNet3dOptions) -> MobileNet3d:
    """Two short stages, for tests: trains in seconds."""
    return inverted_residuals(
        spec, options, blocks=TINY, stem=8, head=48, audio_channels=(8, 16, 24), factorised=True
    )
