"""MobileNet3D V3: MobileNetV3-Large with temporal kernels; squeeze-excite and hard-swish.

Source: Howard et al. 2019, "Searching for MobileNetV3", table 1: channels, expansions, kernels over rows and
columns, squeeze-excite, activations and strides over rows and columns. No 3D form is published. Here, every
depthwise kernel and the stem also span `frames` frames, and time is halved with rows and columns, as in
3D-MobileNetV2. With kernels of one frame and a clip of one frame, it is MobileNetV3-Large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from models.layers import SqueezeExcite, conv_bn, deepened, round_channels
from models.mobilenet3d import MobileNet3d, MobileNet3dOptions
from models.ranges import dropout_share, size_factor, within
from models.spec import ClipSpec

_EPS = 1e-3
"""Added to the variance by BatchNorm in the authors' code."""


@dataclass(frozen=True, kw_only=True)
class MobileNet3dV3Options(MobileNet3dOptions):
    """Size of a MobileNet3D V3."""

    width: float = size_factor()
    """Multiplies every number of channels; the layer before the classifiers is not reduced."""
    depth: float = size_factor()
    """Multiplies the number of blocks of every width, rounded; at least one is left."""
    dropout: float = dropout_share(0.2)
    """Share of features zeroed before the classifiers while training."""
    kernel_frames: int = within(3, 1, 15)
    """Frames that every kernel spans in time; odd."""


@dataclass(frozen=True, kw_only=True)
class _Block:
    """One row of the paper's table: an inverted residual with `expanded` inner channels."""

    kernel: int
    expanded: int
    channels: int
    halves: bool = False
    excites: bool = False
    activation: type[nn.Module] = nn.Hardswish


_LARGE: tuple[_Block, ...] = (
    _Block(kernel=3, expanded=16, channels=16, activation=nn.ReLU),
    _Block(kernel=3, expanded=64, channels=24, halves=True, activation=nn.ReLU),
    _Block(kernel=3, expanded=72, channels=24, activation=nn.ReLU),
    _Block(kernel=5, expanded=72, channels=40, halves=True, excites=True, activation=nn.ReLU),
    _Block(kernel=5, expanded=120, channels=40, excites=True, activation=nn.ReLU),
    _Block(kernel=5, expanded=120, channels=40, excites=True, activation=nn.ReLU),
    _Block(kernel=3, expanded=240, channels=80, halves=True),
    _Block(kernel=3, expanded=200, channels=80),
    _Block(kernel=3, expanded=184, channels=80),
    _Block(kernel=3, expanded=184, channels=80),
    _Block(kernel=3, expanded=480, channels=112, excites=True),
    _Block(kernel=3, expanded=672, channels=112, excites=True),
    _Block(kernel=5, expanded=672, channels=160, halves=True, excites=True),
    _Block(kernel=5, expanded=960, channels=160, excites=True),
    _Block(kernel=5, expanded=960, channels=160, excites=True),
)
_TINY: tuple[_Block, ...] = (
    _Block(kernel=3, expanded=8, channels=8, activation=nn.ReLU),
    _Block(kernel=5, expanded=32, channels=16, halves=True, excites=True, activation=nn.ReLU),
    _Block(kernel=3, expanded=48, channels=16),
    _Block(kernel=3, expanded=64, channels=24, halves=True, excites=True),
)


class _Residual(nn.Module):
    """Expansion, depthwise convolution, optional squeeze-excite, linear projection; residual where shapes agree."""

    def __init__(self, before: int, row: _Block, *, width: float, frames: int) -> None:
        super().__init__()
        inner, after = round_channels(row.expanded * width), round_channels(row.channels * width)
        stride = (2, 2, 2) if row.halves else (1, 1, 1)
        layers: list[nn.Module] = []
        if inner != before:
            layers += [conv_bn(before, inner, kernel=(1, 1, 1), eps=_EPS), row.activation()]
        kernel = (frames, row.kernel, row.kernel)
        layers += [
            conv_bn(inner, inner, kernel=kernel, stride=stride, groups=inner, eps=_EPS),
            row.activation(),
        ]
        if row.excites:
            layers.append(SqueezeExcite(inner, hidden=round_channels(inner / 4), gate=nn.Hardsigmoid))
        layers.append(conv_bn(inner, after, kernel=(1, 1, 1), eps=_EPS))
        self.layers = nn.Sequential(*layers)
        self.residual = not row.halves and before == after

    def forward(self, x: Tensor) -> Tensor:
        """`N C T H W` -> `N C' T' H' W'`."""
        return x + self.layers(x) if self.residual else self.layers(x)


def mobilenet3d_v3(spec: ClipSpec, options: MobileNet3dV3Options) -> MobileNet3d:
    """3D-MobileNetV3-Large, scaled by `options.width`."""
    return _mobilenet3d_v3(
        spec, options, blocks=_LARGE, stem=16, features=1280, audio_channels=(16, 32, 64, 128)
    )


def mobilenet3d_v3_tiny(spec: ClipSpec, options: MobileNet3dV3Options) -> MobileNet3d:
    """Four blocks with all features of the large one, for tests: trains in seconds."""
    return _mobilenet3d_v3(spec, options, blocks=_TINY, stem=8, features=48, audio_channels=(8, 16, 24))


def _mobilenet3d_v3(
    spec: ClipSpec,
    options: MobileNet3dV3Options,
    *,
    blocks: Sequence[_Block],
    stem: int,
    features: int,
    audio_channels: Sequence[int],
) -> MobileNet3d:
    """The blocks between a stem and a head whose last convolution has the inner width of the last block."""
    frames = options.kernel_frames
    if frames < 1 or frames % 2 == 0:
        raise ValueError(f"kernel_frames is {frames}: use an odd number, 1 for spatial kernels")
    channels = round_channels(stem * options.width)
    layers = [
        conv_bn(3, channels, kernel=(frames, 3, 3), stride=(1, 2, 2), eps=_EPS),
        nn.Hardswish(inplace=True),
    ]
    for row in deepened(blocks, options.depth):
        layers.append(_Residual(channels, row, width=options.width, frames=frames))
        channels = round_channels(row.channels * options.width)
    last = round_channels(blocks[-1].expanded * options.width)
    layers += [conv_bn(channels, last, kernel=(1, 1, 1), eps=_EPS), nn.Hardswish(inplace=True)]
    features = round_channels(features * max(1.0, options.width))
    return MobileNet3d(
        spec,
        video=nn.Sequential(*layers),
        embed=nn.Sequential(nn.Linear(last, features), nn.Hardswish(inplace=True)),
        features=features,
        audio_channels=audio_channels,
        options=options,
    )
