"""A small MobileNetV2 for clips with a high quantization cost, and one with a low cost."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

LOUD = 100

SHAPE = "1x3x4x16x16"


def clips(count: int = 16) -> np.ndarray:
    """Noise, `count x 1 3 T H W`, for the statistics of the norms and for calibration."""
    return np.random.default_rng(0).random((count, 1, 3, 4, 16, 16), "float32")


class Inverted(nn.Module):
    """A 3D inverted residual of MobileNetV2, as in okankop's Efficient-3DCNNs."""

    def __init__(self, channels: int, out: int, *, stride: int = 1, expand: int = 4) -> None:
        super().__init__()
        wide = channels * expand
        self.residual = stride == 1 and channels == out
        self.expand, self.expand_norm = nn.Conv3d(channels, wide, 1, bias=False), nn.BatchNorm3d(wide)
        self.depthwise = nn.Conv3d(wide, wide, 3, (1, stride, stride), 1, groups=wide, bias=False)
        self.depthwise_norm = nn.BatchNorm3d(wide)
        self.project, self.project_norm = nn.Conv3d(wide, out, 1, bias=False), nn.BatchNorm3d(out)
        self.clamp = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        y = self.clamp(self.expand_norm(self.expand(x)))
        y = self.clamp(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.residual else y


class MobileNet(nn.Module):
    """A stem, four blocks and a classifier, untrained; `spread` is that of the logarithms of the norms' gammas."""

    def __init__(self, *, spread: float, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv3d(3, 8, 3, (1, 2, 2), 1, bias=False), nn.BatchNorm3d(8), nn.ReLU6())
        self.blocks = nn.Sequential(
            Inverted(8, 8), Inverted(8, 12, stride=2), Inverted(12, 12), Inverted(12, 16)
        )
        self.classifier = nn.Linear(16, 5)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                nn.init.normal_(module.weight, std=spread)
                module.weight.data.exp_()
                module.momentum = None  # averages the statistics
        with torch.no_grad():
            self(torch.from_numpy(clips()).flatten(0, 1))
        self.eval()

    def forward(self, clip: Tensor) -> Tensor:
        return self.classifier(self.blocks(self.stem(clip)).mean((2, 3, 4)))


def rough() -> MobileNet:
    """Gammas over two orders of magnitude, as training may leave them: the quantization cost is high."""
    return MobileNet(spread=1.4, seed=2)


def smooth() -> MobileNet:
    """Gammas of 1: the quantization cost is low."""
    return MobileNet(spread=0)


def one_loud_layer() -> MobileNet:
    """`smooth` except for one layer, `blocks.2.project`, whose first channel is far larger than the others.

    The others get few of the 255 steps of its output; the next layer scales the large channel back.
    """
    network = smooth()
    bad, reader = network.blocks[2], network.blocks[3]
    bad.residual = False
    with torch.no_grad():
        bad.project_norm.weight[0] *= LOUD
        reader.expand.weight[:, 0] /= LOUD
    return network
