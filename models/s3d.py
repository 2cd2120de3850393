"""S3D: I3D with every k x k x k convolution split into one over space and one over time; S3D-G gates them.

Source: Xie et al. 2018, "Rethinking Spatiotemporal Feature Learning: Speed-Accuracy Trade-offs in Video
Classification": separable convolutions, and feature gating right after each temporal one.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from models.i3d import BATCHNORM_EPS, PUBLISHED, TINY, InceptionV1, Skeleton
from models.layers import conv_bn_relu
from models.ranges import dropout_share, size_factor
from models.spec import ClipSpec


@dataclass(frozen=True, kw_only=True)
class S3dOptions:
    """Size of an S3D."""

    width: float = size_factor()
    """Multiplies every number of channels."""
    dropout: float = dropout_share(0.2)
    """Share of features zeroed before the classifiers while training."""
    gating: bool = False
    """Whether a gate follows every temporal convolution (S3D-G)."""


class FeatureGate(nn.Module):
    """Scales channels by gates in 0..1 computed from the means of all channels over the clip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.decide = nn.Conv3d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> `N C T H W`."""
        return x * self.decide(x.mean((2, 3, 4), keepdim=True)).sigmoid()


def s3d(spec: ClipSpec, options: S3dOptions) -> InceptionV1:
    """S3D in its published shape, scaled by `options.width`; S3D-G with `options.gating`."""
    return _s3d(spec, PUBLISHED, options)


def s3d_tiny(spec: ClipSpec, options: S3dOptions) -> InceptionV1:
    """One block after the stem, for tests: runs in milliseconds."""
    return _s3d(spec, TINY, options)


def _s3d(spec: ClipSpec, skeleton: Skeleton, options: S3dOptions) -> InceptionV1:
    def separable(before: int, after: int, kernel: int, stride: int) -> nn.Module:
        layers = nn.Sequential(
            conv_bn_relu(
                before, after, kernel=(1, kernel, kernel), stride=(1, stride, stride), eps=BATCHNORM_EPS
            ),
            conv_bn_relu(after, after, kernel=(kernel, 1, 1), stride=(stride, 1, 1), eps=BATCHNORM_EPS),
        )
        return layers.append(FeatureGate(after)) if options.gating else layers

    return InceptionV1(
        spec,
        network="S3D",
        skeleton=skeleton,
        convolve=separable,
        width=options.width,
        dropout=options.dropout,
    )
