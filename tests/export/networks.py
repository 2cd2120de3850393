"""Small networks for the export tests, one construct each, with BatchNorm statistics as after training."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def trained(model: nn.Module, seed: int = 0) -> nn.Module:
    """`model` in eval mode with random weights and BatchNorm statistics that are far from (0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = max(1, parameter.numel() // parameter.shape[0]) if parameter.dim() > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                count = module.num_features
                module.running_mean.copy_(torch.randn(count, generator=generator) * 0.2)
                module.running_var.copy_(torch.rand(count, generator=generator) + 0.5)
                module.weight.copy_(torch.rand(count, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(count, generator=generator) * 0.3)
    return model.eval()


def conv(
    channels_in: int,
    channels_out: int,
    kernel: int | tuple[int, int, int],
    *,
    act: Callable[[], nn.Module] | None = None,
    **geometry: object,
) -> nn.Sequential:
    """Conv3d, BatchNorm3d and an activation."""
    layers = [
        nn.Conv3d(channels_in, channels_out, kernel, bias=False, **geometry),
        nn.BatchNorm3d(channels_out),
    ]  # type: ignore[arg-type]
    return nn.Sequential(*layers, *([act()] if act else []))


class Block(nn.Module):
    """Inverted residual: expand, depthwise 3x3x3, project."""

    def __init__(self, channels_in: int, channels_out: int, stride: tuple[int, int, int]) -> None:
        super().__init__()
        wide = 4 * channels_in
        self.expand = conv(channels_in, wide, 1, act=nn.ReLU6)
        self.depthwise = conv(wide, wide, 3, stride=stride, padding=1, groups=wide, act=nn.ReLU6)
        self.project = conv(wide, channels_out, 1)
        self.residual = channels_in == channels_out and stride == (1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class MobileNet3D(nn.Module):
    """Normalise, dense stem, inverted residuals with strides in space and time, head, mean, linear."""

    def __init__(self, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.45, 0.44, 0.4]).reshape(1, 3, 1, 1, 1))
        self.register_buffer("std", torch.tensor([0.22, 0.23, 0.24]).reshape(1, 3, 1, 1, 1))
        self.stem = conv(3, width, 3, stride=(1, 2, 2), padding=1, act=nn.ReLU6)
        self.blocks = nn.Sequential(
            Block(width, width, (1, 1, 1)),
            Block(width, 2 * width, (1, 2, 2)),
            Block(2 * width, 2 * width, (1, 1, 1)),
            Block(2 * width, 3 * width, (2, 2, 2)),
            Block(3 * width, 3 * width, (1, 1, 1)),
        )
        self.head = conv(3 * width, 8 * width, 1, act=nn.ReLU6)
        self.classifier = nn.Linear(8 * width, classes)

    def features(self, clip: Tensor) -> Tensor:
        clip = (clip - self.mean) / self.std
        return self.head(self.blocks(self.stem(clip))).mean((2, 3, 4))

    def forward(self, clip: Tensor) -> Tensor:
        return self.classifier(self.features(clip))


class TwoInputs(nn.Module):
    """Clip and log-mel spectrogram, joined before two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.video = MobileNet3D()
        self.audio = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
            nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.first, self.second = nn.Linear(64 + 16, 5), nn.Linear(64 + 16, 3)

    def forward(self, clip: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([self.video.features(clip), self.audio(audio)], 1)
        return self.first(joined), self.second(joined)


class Function(nn.Module):
    """Layers and a function of them and the clip."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, clip: Tensor) -> Tensor:
        return self.function(clip, *self.layers)


class SqueezeExcite(nn.Module):
    """A gate per clip and channel for every frame; `squeeze` computes the mean."""

    def __init__(self, channels: int, squeeze: Callable[[Tensor], Tensor], gate: nn.Module) -> None:
        super().__init__()
        self.squeeze, self.gate = squeeze, gate
        self.down, self.up = nn.Conv3d(channels, 4, 1), nn.Conv3d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.up(F.relu(self.down(self.squeeze(x)))))


def head(x: Tensor) -> Tensor:
    return x.mean((2, 3, 4))


def causal(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(F.pad(x, (1, 1, 1, 1, 2, 0)))


def separable(weight_rank: int) -> nn.Sequential:
    """A depthwise 3x3x3 whose kernels have the given rank between time and space."""
    layer = conv(6, 6, 3, padding=1, groups=6)
    generator = torch.Generator().manual_seed(1)
    temporal = torch.randn(6, weight_rank, 3, generator=generator)
    spatial = torch.randn(6, weight_rank, 9, generator=generator)
    trained(layer)
    layer[0].weight.data = torch.einsum("crt,crs->cts", temporal, spatial).reshape(6, 1, 3, 3, 3)
    return layer


def reuse(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(layer(x))


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "pointwise": lambda: conv(3, 5, 1),
    "pointwise strided in space": lambda: conv(3, 5, 1, stride=(1, 2, 2)),
    "pointwise strided in time": lambda: conv(3, 5, 1, stride=(2, 1, 1)),
    "pointwise strided": lambda: conv(3, 5, 1, stride=2),
    "spatial": lambda: conv(3, 5, (1, 3, 3), padding=(0, 1, 1)),
    "spatial strided dilated": lambda: conv(
        3, 5, (1, 3, 5), stride=(1, 2, 1), padding=(0, 2, 3), dilation=(1, 2, 1)
    ),
    "spatial depthwise": lambda: conv(3, 6, (1, 3, 3), padding=(0, 1, 1), groups=3),
    "temporal": lambda: conv(3, 5, (3, 1, 1), padding=(1, 0, 0)),
    "temporal depthwise": lambda: conv(3, 3, (5, 1, 1), padding=(2, 0, 0), groups=3),
    "temporal strided dilated": lambda: conv(
        3, 5, (3, 1, 1), stride=(2, 1, 1), padding=(2, 0, 0), dilation=(2, 1, 1)
    ),
    "temporal without padding": lambda: conv(3, 5, (3, 1, 1)),
    "dense few channels": lambda: conv(3, 5, 3, padding=1),
    "dense many channels": lambda: nn.Sequential(conv(3, 8, 1), conv(8, 5, 3, padding=1)),
    "dense strided": lambda: nn.Sequential(conv(3, 8, 1), conv(8, 5, 3, stride=2, padding=1)),
    "dense 5x3x3 dilated": lambda: nn.Sequential(
        conv(3, 8, 1), conv(8, 5, (5, 3, 3), dilation=(2, 1, 1), padding=(4, 1, 1))
    ),
    "dense without padding": lambda: nn.Sequential(conv(3, 8, 1), conv(8, 5, 3)),
    "dense even kernel": lambda: nn.Sequential(
        conv(3, 8, 1), conv(8, 5, (2, 4, 2), stride=(2, 2, 2), padding=(1, 1, 0))
    ),
    "dense same padding": lambda: nn.Sequential(conv(3, 8, 1), conv(8, 5, (4, 2, 3), padding="same")),
    "dense kernel as long as the clip": lambda: nn.Sequential(conv(3, 8, 1), conv(8, 5, (8, 3, 3))),
    "dense kernel longer than the clip": lambda: nn.Sequential(
        conv(3, 8, 1), conv(8, 5, (17, 1, 3), padding=(8, 0, 1))
    ),
    "depthwise": lambda: nn.Sequential(conv(3, 6, 1), conv(6, 6, 3, padding=1, groups=6)),
    "depthwise strided in space": lambda: nn.Sequential(
        conv(3, 6, 1), conv(6, 6, 3, stride=(1, 2, 2), padding=1, groups=6)
    ),
    "depthwise strided": lambda: nn.Sequential(conv(3, 6, 1), conv(6, 6, 3, stride=2, padding=1, groups=6)),
    "depthwise strided in time": lambda: nn.Sequential(
        conv(3, 6, 1), conv(6, 6, 3, stride=(2, 1, 1), padding=1, groups=6)
    ),
    "depthwise without padding": lambda: nn.Sequential(conv(3, 6, 1), conv(6, 6, (3, 5, 5), groups=6)),
    "depthwise dilated": lambda: nn.Sequential(conv(3, 6, 1), conv(6, 6, 3, padding=2, dilation=2, groups=6)),
    "depthwise multiplier": lambda: nn.Sequential(conv(3, 6, 1), conv(6, 12, 3, padding=1, groups=6)),
    "depthwise of rank 1": lambda: nn.Sequential(conv(3, 6, 1), separable(1)),
    "depthwise of rank 2": lambda: nn.Sequential(conv(3, 6, 1), separable(2)),
    "grouped": lambda: nn.Sequential(conv(3, 8, 1), conv(8, 6, 3, padding=1, groups=2)),
    "grouped strided": lambda: nn.Sequential(conv(3, 8, 1), conv(8, 6, 3, stride=2, padding=1, groups=2)),
    "bias and no norm": lambda: nn.Sequential(
        nn.Conv3d(3, 6, 1), nn.Conv3d(6, 6, 3, padding=1, groups=6), nn.ReLU()
    ),
    "bias and norm": lambda: nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.BatchNorm3d(6)),
    "causal temporal": lambda: Function(lambda x, f: f(F.pad(x, (0, 0, 0, 0, 2, 0))), conv(3, 5, (3, 1, 1))),
    "causal dilated": lambda: Function(
        lambda x, f: f(F.pad(x, (0, 0, 0, 0, 4, 0))), conv(3, 5, (3, 1, 1), dilation=(2, 1, 1))
    ),
    "causal strided": lambda: Function(
        lambda x, f: f(F.pad(x, (0, 0, 0, 0, 3, 0))), conv(3, 5, (4, 1, 1), stride=(2, 1, 1))
    ),
    "causal dense": lambda: Function(causal, conv(3, 5, 3)),
    "causal depthwise": lambda: Function(causal, conv(3, 3, 3, groups=3)),
    "tensorflow same padding": lambda: Function(
        lambda x, f: f(F.pad(x, (0, 1, 0, 1, 0, 1))), conv(3, 5, 3, stride=2)
    ),
    "dilated uneven padding": lambda: Function(
        lambda x, f: f(F.pad(x, (0, 1, 2, 1))), conv(3, 5, (1, 3, 3), dilation=(1, 2, 2))
    ),
    "shared weights": lambda: Function(reuse, conv(3, 3, 3, padding=1, act=nn.ReLU)),
}
"""Name -> network on clips `N 3 8 12 10` whose result is of rank 5."""

OTHERS: dict[str, Callable[[], nn.Module]] = {
    "norm first": lambda: nn.Sequential(nn.BatchNorm3d(3), nn.ReLU(), nn.Conv3d(3, 4, 3, padding=1)),
    "norm twice": lambda: nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.BatchNorm3d(4)),
    "norm of a value read twice": lambda: Function(
        lambda x, f, g: (y := f(x)) + g(y), nn.Conv3d(3, 4, 3, padding=1), nn.BatchNorm3d(4)
    ),
    "normalise with mul and add": lambda: Function(lambda x, f: f(x * 2 - 1), conv(3, 4, 3, padding=1)),
    "constant minus x": lambda: Function(lambda x, f: f(1 - x), conv(3, 4, 3, padding=1)),
    "activations": lambda: nn.Sequential(
        nn.Conv3d(3, 4, 1), nn.Hardswish(), nn.Conv3d(4, 4, 1), nn.SiLU(), nn.Conv3d(4, 4, 1), nn.GELU(),
        nn.Conv3d(4, 4, 1), nn.LeakyReLU(0.1), nn.Conv3d(4, 4, 1), nn.Hardsigmoid(), nn.Tanh(), nn.ELU(),
    ),
    "clamp and relu in place": lambda: Function(
        lambda x, f: F.relu(f(x).clamp(-1, 1).clamp(min=-0.5), inplace=True), conv(3, 4, 3, padding=1)
    ),
    "squeeze-excite": lambda: nn.Sequential(
        conv(3, 6, (3, 1, 1), padding=(1, 0, 0), act=nn.Hardswish),
        SqueezeExcite(6, lambda x: x.mean((2, 3, 4), keepdim=True), nn.Hardsigmoid()),
        conv(6, 4, 3, padding=1),
    ),
    "squeeze-excite over frames": lambda: nn.Sequential(
        conv(3, 6, (1, 3, 3), act=nn.SiLU), SqueezeExcite(6, nn.AdaptiveAvgPool3d(1), nn.Sigmoid()), conv(6, 4, 1)
    ),
    "squeeze-excite with linear": lambda: Function(
        lambda x, f, g: (y := f(x)) * g(y.mean((2, 3, 4))).sigmoid().view(-1, 6, 1, 1, 1),
        conv(3, 6, 3, padding=1), nn.Linear(6, 6),
    ),
    "gate per frame": lambda: Function(
        lambda x, f, g: (y := f(x)) * g(y.mean((3, 4), keepdim=True)).sigmoid(),
        conv(3, 6, 3, padding=1), nn.Conv3d(6, 6, (3, 1, 1), padding=(1, 0, 0)),
    ),
    "gate per position": lambda: Function(
        lambda x, f: (y := f(x)) * y.mean(1, keepdim=True).sigmoid(), conv(3, 6, 3, padding=1)
    ),
    "gate per pixel": lambda: Function(
        lambda x, f: (y := f(x)) * y.mean(2, keepdim=True).sigmoid(), conv(3, 6, 3, padding=1)
    ),
    "max pool": lambda: nn.Sequential(conv(3, 4, 3, padding=1), nn.MaxPool3d(3, 2, 1)),
    "max pool in space": lambda: nn.Sequential(conv(3, 4, 3), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))),
    "max pool with ceil": lambda: nn.Sequential(conv(3, 4, 1), nn.MaxPool3d((3, 3, 3), 2, ceil_mode=True)),
    "average pool": lambda: nn.Sequential(conv(3, 4, 1), nn.AvgPool3d(2), nn.AvgPool3d((2, 3, 1), 1)),
    "average pool padded": lambda: nn.Sequential(conv(3, 4, 1), nn.AvgPool3d(3, 2, 1)),
    "average pool without the padding": lambda: nn.Sequential(
        conv(3, 4, 1), nn.AvgPool3d(3, 2, 1, count_include_pad=False)
    ),
    "adaptive pool": lambda: nn.Sequential(conv(3, 4, 1), nn.AdaptiveAvgPool3d((2, 3, 5))),
    "adaptive pool of time": lambda: nn.Sequential(conv(3, 4, 1), nn.AdaptiveAvgPool3d((1, None, None))),
    "max pool after padding": lambda: Function(lambda x: F.max_pool3d(F.pad(x, (0, 1, 0, 1, 1, 0)), 3, 2)),
    "replicated padding": lambda: Function(
        lambda x, f: f(F.pad(x, (1, 1, 1, 1, 1, 1), mode="replicate")), conv(3, 4, 3)
    ),
    "channels joined": lambda: Function(
        lambda x, f, g: torch.cat([f(x), g(x), x], 1), conv(3, 4, (1, 3, 3), padding=(0, 1, 1)),
        conv(3, 4, (3, 1, 1), padding=(1, 0, 0)),
    ),
    "channels split": lambda: Function(
        lambda x, f, g: f((parts := torch.split(x, [1, 2], 1))[0]) * g(parts[1]), conv(1, 4, 1), conv(2, 4, 1)
    ),
    "chunks": lambda: Function(lambda x, f: torch.cat(f(x).chunk(2, 1)[::-1], 1), conv(3, 4, 3, padding=1)),
    "every second frame": lambda: Function(lambda x, f: f(x[:, :, ::2]), conv(3, 4, 3, padding=1)),
    "one frame": lambda: Function(lambda x, f: f(x)[:, :, 3], conv(3, 4, 3, padding=1)),
    "crop": lambda: Function(lambda x, f: f(x)[:, :, 1:-1, 2:, :-3], conv(3, 4, 3, padding=1)),
    "frames as 2D pictures": lambda: Function(
        lambda x, f: f(x.transpose(1, 2).reshape(-1, 3, 12, 10)).view(-1, 8, 4, 12, 10).transpose(1, 2),
        nn.Conv2d(3, 4, 3, padding=1),
    ),
    "tokens": lambda: Function(
        lambda x, f, g: g(f(x).flatten(2).transpose(1, 2)), nn.Conv3d(3, 4, (2, 4, 5), (2, 4, 5)), nn.LayerNorm(4)
    ),
    "channels last": lambda: Function(
        lambda x, f, g: g(f(x).permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3),
        conv(3, 4, 3, padding=1), nn.Linear(4, 5),
    ),
    "positions learned": lambda: Function(
        lambda x, f, g: f(x) + g.weight.reshape(1, 4, 8, 1, 1), conv(3, 4, 3, padding=1), nn.Linear(8, 4)
    ),
    "mean over everything in steps": lambda: Function(lambda x, f: f(x).mean((3, 4)).mean(2), conv(3, 4, 3)),
    "dropout": lambda: Function(lambda x, f: F.dropout3d(f(x), 0.5, False), conv(3, 4, 3)),
}  # fmt: skip
"""Name -> network on clips `N 3 8 12 10` with other operators than Conv3d."""
