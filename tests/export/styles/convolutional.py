"""Convolutional networks in the style of public code bases: blocks, shortcuts, gates, shifts, decoders."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ShortcutA(nn.Module):
    """3D ResNet with shortcuts of type A: average pooling and channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 4, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.bn1, self.relu = nn.BatchNorm3d(4), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool3d(kernel_size=3, stride=2, padding=1)
        self.conv2 = nn.Conv3d(4, 8, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(8)
        self.conv3 = nn.Conv3d(8, 8, 3, padding=1, groups=4, bias=False)
        self.avgpool, self.fc = nn.AdaptiveAvgPool3d((1, 1, 1)), nn.Linear(8, 5)

    def shortcut(self, x: Tensor, planes: int, stride: int) -> Tensor:
        out = F.avg_pool3d(x, kernel_size=1, stride=stride)
        zeros = torch.zeros(out.size(0), planes - out.size(1), out.size(2), out.size(3), out.size(4))
        return torch.cat([out.data, zeros], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        out = self.relu(self.bn2(self.conv2(x)))
        out = self.conv3(out)
        out += self.shortcut(x, 8, 2)
        x = self.avgpool(self.relu(out))
        return self.fc(x.view(x.size(0), -1))


class DenseLayer(nn.Sequential):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.add_module("norm1", nn.BatchNorm3d(channels))
        self.add_module("relu1", nn.ReLU(inplace=True))
        self.add_module("conv1", nn.Conv3d(channels, 2 * growth, kernel_size=1, bias=False))
        self.add_module("norm2", nn.BatchNorm3d(2 * growth))
        self.add_module("relu2", nn.ReLU(inplace=True))
        self.add_module("conv2", nn.Conv3d(2 * growth, growth, kernel_size=3, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        new = F.dropout(super().forward(x), p=0.2, training=self.training)
        return torch.cat([x, new], 1)


def dense_net() -> nn.Module:
    layers: list[tuple[str, nn.Module]] = [("conv0", nn.Conv3d(3, 4, 3, (1, 2, 2), 1, bias=False))]
    layers += [(f"dense{i}", DenseLayer(4 + 2 * i, 2)) for i in range(3)]
    layers += [
        ("trans", nn.Sequential(nn.BatchNorm3d(10), nn.ReLU(), nn.Conv3d(10, 5, 1), nn.AvgPool3d(2, 2)))
    ]
    return nn.Sequential(
        nn.Sequential(OrderedDict(layers)), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(5, 3)
    )


class SamePool(nn.MaxPool3d):
    """Inception's pooling with TensorFlow's padding, computed from the input size."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, k, s in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            total = max(k - s, 0) if size % s == 0 else max(k - size % s, 0)
            pads = [total // 2, total - total // 2, *pads]
        return super().forward(F.pad(x, pads))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b0 = nn.Conv3d(3, 4, 1)
        self.b1 = nn.Sequential(nn.Conv3d(3, 3, 1), nn.Conv3d(3, 5, 3, padding="same"))
        self.b3 = nn.Sequential(SamePool((3, 3, 3), (1, 1, 1)), nn.Conv3d(3, 2, 1))
        self.pool = SamePool((2, 3, 3), (2, 2, 2))
        self.logits = nn.Conv3d(11, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.cat([self.b0(x), self.b1(x), self.b3(x)], dim=1))
        logits = self.logits(F.avg_pool3d(x, (2, 3, 3), (1, 1, 1)))
        return logits.squeeze(3).mean(3).mean(2) if logits.shape[3] == 1 else logits.mean(4).mean(3).mean(2)


class TemporalShift(nn.Module):
    """2D network over segments, with a shift before each convolution, and the mean of the segments' logits."""

    def __init__(self, segments: int = 4, div: int = 4) -> None:
        super().__init__()
        self.segments, self.div = segments, div
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.body = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))
        self.fc = nn.Linear(8, 5)

    def shift(self, x: Tensor) -> Tensor:
        nt, c, h, w = x.size()
        x = x.view(nt // self.segments, self.segments, c, h, w)
        fold = c // self.div
        out = torch.zeros_like(x)
        out[:, :-1, :fold] = x[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = x[:, :, 2 * fold :]
        return out.view(nt, c, h, w)

    def forward(self, clip: Tensor) -> Tensor:
        n = clip.shape[0]
        x = clip.permute(0, 2, 1, 3, 4).contiguous().view(-1, *clip.shape[1:2], *clip.shape[3:])
        x = F.relu(self.stem(x))
        for layer in self.body:
            x = x + F.relu(layer(self.shift(x)))
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.fc(x).view(n, self.segments, -1).mean(dim=1, keepdim=True).squeeze(1)


class Up(nn.Module):
    """Decoder step of a U-Net: upsample, pad to the skip's size, concatenate, convolve."""

    def __init__(self, channels: int, skip: int, out: int, *, learned: bool) -> None:
        super().__init__()
        self.up: nn.Module = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)
        if learned:
            self.up = nn.ConvTranspose3d(channels, channels, kernel_size=2, stride=2)
        self.conv = nn.Sequential(
            nn.Conv3d(channels + skip, out, 3, padding=1, bias=False), nn.GroupNorm(2, out), nn.LeakyReLU(0.1)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        t, h, w = (skip.size(i) - x.size(i) for i in (2, 3, 4))
        x = F.pad(x, [w // 2, w - w // 2, h // 2, h - h // 2, t // 2, t - t // 2])
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc1 = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.ReLU())
        self.enc2 = nn.Sequential(nn.MaxPool3d(2), nn.Conv3d(4, 6, 3, padding=1), nn.PReLU())
        self.enc3 = nn.Sequential(nn.Conv3d(6, 8, 3, 2, 1), nn.BatchNorm3d(8), nn.Mish())
        self.dec2, self.dec1 = Up(8, 6, 6, learned=True), Up(6, 4, 4, learned=False)
        self.head = nn.Conv3d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        e1 = self.enc1(x)
        e2 = self.enc2(e1)
        return torch.sigmoid(self.head(self.dec1(self.dec2(self.enc3(e2), e2), e1)))


class ConvLSTM(nn.Module):
    """Convolutional LSTM cells over the frames of N T C H W."""

    def __init__(self, channels: int = 3, hidden: int = 4) -> None:
        super().__init__()
        self.hidden = hidden
        self.conv = nn.Conv2d(channels + hidden, 4 * hidden, 3, padding=1)
        self.peephole = nn.Parameter(torch.zeros(1, hidden, 1, 1))
        self.head = nn.Linear(hidden, 3)

    def forward(self, clip: Tensor) -> Tensor:
        b, _, seq_len, h, w = clip.size()
        hx = torch.zeros(b, self.hidden, h, w, device=clip.device)
        cx = torch.zeros(b, self.hidden, h, w, device=clip.device)
        outputs = []
        for t in range(seq_len):
            i, f, o, g = torch.split(self.conv(torch.cat([clip[:, :, t], hx], dim=1)), self.hidden, dim=1)
            cx = torch.sigmoid(f) * cx + torch.sigmoid(i + self.peephole * cx) * torch.tanh(g)
            hx = torch.sigmoid(o) * torch.tanh(cx)
            outputs.append(hx)
        return self.head(torch.stack(outputs, dim=1)[:, -1].mean((-2, -1)))


class Gates(nn.Module):
    """Squeeze-excite in two ways, ECA, CBAM, selective kernels and global response norm, one after the other."""

    def __init__(self, c: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, c, 3, padding=1)
        self.fc = nn.Sequential(
            nn.Linear(c, 3, bias=False), nn.ReLU(), nn.Linear(3, c, bias=False), nn.Sigmoid()
        )
        self.eca = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.cbam = nn.Conv3d(2, 1, (3, 3, 3), padding=1)
        self.small, self.large = nn.Conv3d(c, c, 3, padding=1), nn.Conv3d(c, c, 3, padding=2, dilation=2)
        self.choose = nn.Linear(c, 2 * c)
        self.gamma, self.beta = (
            nn.Parameter(torch.zeros(1, 1, 1, 1, c)),
            nn.Parameter(torch.zeros(1, 1, 1, 1, c)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        b, c, *_ = x.size()
        x = x * self.fc(F.adaptive_avg_pool3d(x, 1).view(b, c)).view(b, c, 1, 1, 1).expand_as(x)
        y = x.mean((-1, -2, -3)).unsqueeze(1)
        x = x * self.eca(y).transpose(-1, -2)[..., None, None].sigmoid()
        pooled = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        x = x * torch.sigmoid(self.cbam(pooled))
        both = torch.stack([self.small(x), self.large(x)], dim=1)
        weights = self.choose(both.sum(1).mean((2, 3, 4))).view(b, 2, c, 1, 1, 1).softmax(dim=1)
        x = (both * weights).sum(dim=1)
        x = x.permute(0, 2, 3, 4, 1)
        gx = torch.norm(x, p=2, dim=(1, 2, 3), keepdim=True)
        return (self.gamma * (x * gx / (gx.mean(dim=-1, keepdim=True) + 1e-6)) + self.beta + x).permute(
            0, 4, 1, 2, 3
        )


class WeightStandardized(nn.Conv3d):
    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = (w - w.mean(dim=(1, 2, 3, 4), keepdim=True)) / (w.std(dim=(1, 2, 3, 4), keepdim=True) + 1e-5)
        return F.conv3d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class Octave(nn.Module):
    """Two resolutions that exchange features, frame differences, and coordinates as channels."""

    def __init__(self) -> None:
        super().__init__()
        self.ll, self.hh = WeightStandardized(6, 4, 3, padding=1), WeightStandardized(6, 4, 3, padding=1)
        self.hl, self.lh = nn.Conv3d(6, 4, 1), nn.Conv3d(6, 4, 1)

    def forward(self, clip: Tensor) -> Tensor:
        n, _, t, h, w = clip.shape
        ys = torch.linspace(-1, 1, h).view(1, 1, 1, h, 1).expand(n, 1, t, h, w)
        xs = torch.linspace(-1, 1, w).view(1, 1, 1, 1, w).expand(n, 1, t, h, w)
        radius = torch.sqrt((xs - 0.5) ** 2 + (ys - 0.5) ** 2)
        high = torch.cat([clip, xs, ys, radius], 1)
        low = F.avg_pool3d(high, (1, 2, 2))
        high, low = (
            self.hh(high) + F.interpolate(self.lh(low), scale_factor=(1, 2, 2), mode="nearest"),
            self.ll(low) + self.hl(F.avg_pool3d(high, (1, 2, 2))),
        )
        motion = high[:, :, 1:] - high[:, :, :-1]
        motion = torch.cat([motion, torch.zeros_like(motion[:, :, :1])], dim=2)
        return (F.relu(motion).mean((2, 3, 4)) + low.amax((2, 3, 4))) / math.sqrt(2)


class SkeletonGraph(nn.Module):
    """Graph convolution over joints: N C T V M in, persons in the batch."""

    def __init__(self, joints: int = 5, persons: int = 2) -> None:
        super().__init__()
        self.register_buffer("A", torch.rand(3, joints, joints, generator=torch.Generator().manual_seed(0)))
        self.importance = nn.Parameter(torch.ones(3, joints, joints))
        self.data_bn = nn.BatchNorm1d(3 * joints * persons)
        self.gcn, self.tcn = nn.Conv2d(3, 4 * 3, 1), nn.Conv2d(4, 4, (3, 1), padding=(1, 0))
        self.fcn = nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, c, t, v, m = x.size()
        x = self.data_bn(x.permute(0, 4, 3, 1, 2).contiguous().view(n, m * v * c, t))
        x = x.view(n, m, v, c, t).permute(0, 1, 3, 4, 2).contiguous().view(n * m, c, t, v)
        x = self.gcn(x)
        x = x.view(n * m, 3, 4, t, v)
        x = torch.einsum("nkctv,kvw->nctw", (x, self.A * self.importance)).contiguous()
        x = F.avg_pool2d(F.relu(self.tcn(x)), (t, v))
        return self.fcn(x.view(n, m, -1, 1, 1).mean(dim=1)).view(n, -1)
