"""Video encoders: networks of this project without their classifiers, and a small one for the default teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.c3d import C3dOptions, c3d, c3d_tiny
from models.cnn_lstm import CnnLstmOptions, cnn_lstm, cnn_lstm_tiny
from models.frame_resnet import (
    FramePoolingOptions,
    ResnetLstmOptions,
    resnet50_frames,
    resnet50_lstm,
    resnet_frames_tiny,
    resnet_lstm_tiny,
)
from models.i3d import I3dOptions, i3d, i3d_tiny
from models.layers import Heads, Normalise, Triple
from models.lite0 import Lite0Options, lite0_frames, lite0_frames_tiny
from models.ranges import size_factor
from models.resnet3d import ResNet3dOptions, r2plus1d_18, r2plus1d_tiny, r3d_18, r3d_tiny
from models.s3d import S3dOptions, s3d, s3d_tiny
from models.slowfast import SlowFastOptions, slowfast_r50, slowfast_tiny
from models.spec import ClipSpec
from models.teachers.encoder import Encoder
from models.teachers.huggingface import HuggingFaceOptions, huggingface
from models.timesformer import TimesformerOptions, timesformer, timesformer_tiny
from models.video_transformer import VideoTransformerOptions, video_transformer, video_transformer_tiny


class Headless(nn.Module):
    """A network without its classifiers and the dropout before them: clip `N 3 T H W` -> `N features`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        heads = network.get_submodule("heads")
        assert isinstance(heads, Heads)
        self.features = heads.features
        network.heads = heads.dropout
        self.network = network

    def forward(self, clip: Tensor) -> Tensor:
        """The inputs of the classifiers."""
        return self.network(clip)


def _headless(build: Callable[[ClipSpec, Any], nn.Module]) -> Callable[[ClipSpec, Any], nn.Module]:
    return lambda spec, options: Headless(build(spec.only(("clip",)), options))


@dataclass(frozen=True, kw_only=True)
class FactorisedOptions:
    """Size of a short (2+1)D network."""

    width: float = size_factor()
    """Multiplies every number of channels."""


class _FactorisedConv(nn.Sequential):
    """Spatial 1x3x3, BatchNorm, ReLU, temporal 3x1x1, BatchNorm: `N C T H W` -> `N C' T' H' W'`."""

    def __init__(self, before: int, after: int, *, stride: Triple) -> None:
        time, rows, columns = stride
        super().__init__(
            nn.Conv3d(before, after, (1, 3, 3), stride=(1, rows, columns), padding=(0, 1, 1), bias=False),
            nn.BatchNorm3d(after),
            nn.ReLU(inplace=True),
            nn.Conv3d(after, after, (3, 1, 1), stride=(time, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(after),
        )


class _Residual(nn.Module):
    """A factorised convolution with a shortcut, then ReLU."""

    def __init__(self, before: int, after: int, *, stride: Triple) -> None:
        super().__init__()
        self.body = _FactorisedConv(before, after, stride=stride)
        self.shortcut = nn.Sequential(
            nn.Conv3d(before, after, 1, stride=stride, bias=False), nn.BatchNorm3d(after)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class Factorised(nn.Module):
    """Clip `N 3 T H W` -> `N features`: a stem of stride (1, 4, 4), then factorised residual blocks.

    The blocks are those of Tran et al. 2018, "A Closer Look at Spatiotemporal Convolutions for Action Recognition",
    section 3.5, without its wider middle channels.
    """

    def __init__(self, spec: ClipSpec, *, channels: Sequence[int]) -> None:
        super().__init__()
        assert spec.video is not None
        self.normalise = Normalise(spec.video.mean, spec.video.std)
        first = channels[0]
        self.stem = nn.Sequential(
            nn.Conv3d(3, first, (1, 7, 7), stride=(1, 4, 4), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(first),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.Sequential(
            *(
                _Residual(before, after, stride=(1, 1, 1) if stage == 0 else (2, 2, 2))
                for stage, (before, after) in enumerate(zip([first, *channels], channels, strict=False))
            )
        )
        self.features = channels[-1]

    def forward(self, clip: Tensor) -> Tensor:
        """Mean over time and space of the last block."""
        return self.blocks(self.stem(self.normalise(clip))).mean((2, 3, 4))


def _factorised(channels: Sequence[int]) -> Callable[[ClipSpec, FactorisedOptions], Factorised]:
    return lambda spec, options: Factorised(
        spec, channels=[max(1, round(count * options.width)) for count in channels]
    )


VIDEO_ENCODERS: dict[str, Encoder] = {
    "factorised": Encoder(build=_factorised((48, 96, 192, 320)), options=FactorisedOptions),
    "factorised_tiny": Encoder(build=_factorised((8, 16)), options=FactorisedOptions),
    "resnet50_frames": Encoder(build=_headless(resnet50_frames), options=FramePoolingOptions),
    "resnet_frames_tiny": Encoder(build=_headless(resnet_frames_tiny), options=FramePoolingOptions),
    "resnet50_lstm": Encoder(build=_headless(resnet50_lstm), options=ResnetLstmOptions),
    "resnet_lstm_tiny": Encoder(build=_headless(resnet_lstm_tiny), options=ResnetLstmOptions),
    "lite0_frames": Encoder(build=_headless(lite0_frames), options=Lite0Options),
    "lite0_frames_tiny": Encoder(build=_headless(lite0_frames_tiny), options=Lite0Options),
    "cnn_lstm": Encoder(build=_headless(cnn_lstm), options=CnnLstmOptions),
    "cnn_lstm_tiny": Encoder(build=_headless(cnn_lstm_tiny), options=CnnLstmOptions),
    "c3d": Encoder(build=_headless(c3d), options=C3dOptions),
    "c3d_tiny": Encoder(build=_headless(c3d_tiny), options=C3dOptions),
    "i3d": Encoder(build=_headless(i3d), options=I3dOptions),
    "i3d_tiny": Encoder(build=_headless(i3d_tiny), options=I3dOptions),
    "s3d": Encoder(build=_headless(s3d), options=S3dOptions),
    "s3d_tiny": Encoder(build=_headless(s3d_tiny), options=S3dOptions),
    "slowfast_r50": Encoder(build=_headless(slowfast_r50), options=SlowFastOptions),
    "slowfast_tiny": Encoder(build=_headless(slowfast_tiny), options=SlowFastOptions),
    "r3d_18": Encoder(build=_headless(r3d_18), options=ResNet3dOptions),
    "r3d_tiny": Encoder(build=_headless(r3d_tiny), options=ResNet3dOptions),
    "r2plus1d_18": Encoder(build=_headless(r2plus1d_18), options=ResNet3dOptions),
    "r2plus1d_tiny": Encoder(build=_headless(r2plus1d_tiny), options=ResNet3dOptions),
    "timesformer": Encoder(build=_headless(timesformer), options=TimesformerOptions),
    "timesformer_tiny": Encoder(build=_headless(timesformer_tiny), options=TimesformerOptions),
    "video_transformer": Encoder(build=_headless(video_transformer), options=VideoTransformerOptions),
    "video_transformer_tiny": Encoder(
        build=_headless(video_transformer_tiny), options=VideoTransformerOptions
    ),
    "huggingface": Encoder(build=huggingface, options=HuggingFaceOptions),
}
