"""Operators on clips as users write them, one expression each."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.export.networks import Function


def of(function: Callable[..., Tensor], *layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: Function(function, *layers)


def shift(x: Tensor) -> Tensor:
    """TSM on N T C H W, with slices assigned."""
    x = x.transpose(1, 2)
    out = torch.zeros_like(x)
    out[:, :-1, :1] = x[:, 1:, :1]
    out[:, 1:, 1:2] = x[:, :-1, 1:2]
    out[:, :, 2:] = x[:, :, 2:]
    return out


def joined_shift(x: Tensor) -> Tensor:
    n, _, _, h, w = x.shape
    later = torch.cat([x[:, :1, 1:], x.new_zeros(n, 1, 1, h, w)], 2)
    return torch.cat([later, x[:, 1:].roll(1, 2)], 1)


def fast_and_slow(x: Tensor) -> Tensor:
    slow = torch.index_select(x, 2, torch.linspace(0, x.shape[2] - 1, x.shape[2] // 4).long())
    return torch.cat([slow, x[:, :, ::4], x[:, :, [0, 3]], x[:, :, torch.tensor([5, 1])]], 2)


def own_norm(x: Tensor) -> Tensor:
    mean, var = x.mean((1, 3, 4), keepdim=True), x.var((1, 3, 4), keepdim=True, unbiased=False)
    return (x - mean) / (var + 1e-5).sqrt()


def shuffle(x: Tensor, groups: int = 3) -> Tensor:
    n, c, t, h, w = x.shape
    return x.view(n, groups, c // groups, t, h, w).transpose(1, 2).contiguous().view(n, c, t, h, w)


def patches(x: Tensor) -> Tensor:
    n, c, t, h, w = x.shape
    x = x.reshape(n, c, t // 2, 2, h // 4, 4, w // 5, 5)
    return x.permute(0, 2, 4, 6, 3, 5, 7, 1).reshape(n, -1, 2 * 4 * 5 * c)


def windows(x: Tensor) -> Tensor:
    n, c, t, h, w = x.shape
    x = x.permute(0, 2, 3, 4, 1).view(n, t // 4, 4, h // 6, 6, w // 5, 5, c)
    x = x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, 4 * 6 * 5, c)
    x = F.softmax(x @ x.transpose(1, 2), -1) @ x
    x = x.view(n, t // 4, h // 6, w // 5, 4, 6, 5, c).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(n, t, h, w, c).permute(0, 4, 1, 2, 3)


def attention_5d(x: Tensor) -> Tensor:
    n, c, t, h, w = x.shape
    tokens = x.permute(0, 2, 3, 4, 1).reshape(n, t, h * w, 1, c).transpose(2, 3)
    return F.scaled_dot_product_attention(tokens, tokens, tokens)


def causal_attention(x: Tensor) -> Tensor:
    tokens = x.mean((3, 4)).transpose(1, 2)[:, None]
    return F.scaled_dot_product_attention(tokens, tokens, tokens, is_causal=True)


def masked_attention(x: Tensor) -> Tensor:
    tokens = x.mean((3, 4)).transpose(1, 2)
    scores = tokens @ tokens.transpose(1, 2)
    scores = scores.masked_fill(torch.ones(8, 8).triu(1).bool(), float("-inf"))
    return scores.softmax(-1) @ tokens


def recurrent(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(x.mean((3, 4)).transpose(1, 2))[0]


def last_state(x: Tensor, layer: nn.Module) -> Tensor:
    _, (hidden, _) = layer(x.mean((3, 4)).permute(2, 0, 1))
    return torch.cat([hidden[-2], hidden[-1]], 1)


def cells(x: Tensor, lstm: nn.LSTMCell, gru: nn.GRUCell) -> Tensor:
    frames = x.mean((3, 4))
    h, c, g = (frames.new_zeros(len(x), 5) for _ in range(3))
    for t in range(frames.shape[2]):
        h, c = lstm(frames[:, :, t], (h, c))
        g = gru(h, g)
    return g


def tokens(x: Tensor) -> Tensor:
    return x.mean((3, 4)).transpose(1, 2)


OPERATORS: dict[str, Callable[[], nn.Module]] = {
    # transposed convolutions
    "transposed 2x2x2": lambda: nn.ConvTranspose3d(3, 4, 2, 2),
    "transposed 3 with norm": lambda: nn.Sequential(
        nn.ConvTranspose3d(3, 4, 3, 2, 1, output_padding=1), nn.BatchNorm3d(4), nn.ReLU()
    ),
    "transposed 4x4x4": lambda: nn.ConvTranspose3d(3, 4, 4, 2, 1, bias=False),
    "transposed in space": lambda: nn.ConvTranspose3d(3, 4, (1, 2, 2), (1, 2, 2)),
    "transposed stride 1": lambda: nn.ConvTranspose3d(3, 4, 3, 1, 1),
    "transposed grouped": lambda: nn.Sequential(
        nn.Conv3d(3, 4, 1), nn.ConvTranspose3d(4, 6, (3, 4, 4), 2, 1, groups=2), nn.BatchNorm3d(6)
    ),
    "transposed depthwise": lambda: nn.ConvTranspose3d(3, 3, (1, 4, 4), (1, 2, 2), (0, 1, 1), groups=3),
    "transposed dilated": lambda: nn.ConvTranspose3d(3, 4, 3, (1, 2, 3), 2, dilation=2),
    "transposed in 2D": of(
        lambda x, f, g: g(f(x[:, :, 0])), nn.ConvTranspose2d(3, 4, 4, 2, 1), nn.BatchNorm2d(4)
    ),
    "transposed in 1D": of(lambda x, f: f(x.mean((3, 4))), nn.ConvTranspose1d(3, 4, 3, 2)),
    # norms
    "group norm": lambda: nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.GroupNorm(3, 6), nn.ReLU()),
    "group norm of one group": lambda: nn.GroupNorm(1, 3),
    "group norm in 2D": of(lambda x, f: f(x[:, :, 0]), nn.GroupNorm(3, 3)),
    "instance norm": lambda: nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.InstanceNorm3d(6, affine=True)),
    "instance norm with statistics": lambda: nn.InstanceNorm3d(3, affine=True, track_running_stats=True),
    "layer norm over everything": lambda: nn.LayerNorm([8, 12, 10]),
    "layer norm over channels": of(
        lambda x, f: f(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3), nn.LayerNorm(3)
    ),
    "layer norm of axis 1": of(lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 0.1)),
    "own norm": of(own_norm),
    "normalize": of(lambda x: F.normalize(x, dim=1) + F.normalize(x.flatten(2), p=1, dim=2).view_as(x)),
    "rms norm": of(lambda x, f: f(x.permute(0, 2, 3, 4, 1)), nn.RMSNorm(3)),
    "local response norm": lambda: nn.LocalResponseNorm(3),
    # pooling and interpolation
    "adaptive average uneven": lambda: nn.AdaptiveAvgPool3d((3, 5, 4)),
    "adaptive average larger": lambda: nn.AdaptiveAvgPool3d((16, 12, 3)),
    "adaptive average in 2D": of(
        lambda x: F.adaptive_avg_pool2d(x[:, :, 0], (5, 4)) + F.adaptive_avg_pool1d(x.mean((2, 3)), 1)[:, :, None]
    ),
    "adaptive maximum": lambda: nn.AdaptiveMaxPool3d((3, 5, 1)),
    "adaptive maximum of everything": lambda: nn.AdaptiveMaxPool3d(1),
    "maximum whose places nobody reads": of(
        lambda x, f, g: f(x)[0].mean(2) + g(x[:, :, 0])[0],
        nn.MaxPool3d(2, return_indices=True),
        nn.MaxPool2d(2, return_indices=True),
    ),
    "maximum in two ways": of(lambda x: x.amax((2, 3, 4)) + x.flatten(2).max(2)[0] + x.max(2)[0].amin((2, 3))),
    "windows that hang over": of(
        lambda x: F.avg_pool2d(x[:, :, 0, :11], 2, 2, 1, ceil_mode=True, count_include_pad=False)[:, :, None]
        + F.max_pool3d(x[..., :11, :], 2, 2, 1, ceil_mode=True)
    ),
    "dilated maxima": of(
        lambda x: F.max_pool3d(x - 1, 3, 1, 1, dilation=(2, 1, 2))
        + F.max_pool2d(x[:, :, 0] - 1, 3, 2, 1, 2, ceil_mode=True).mean()
    ),
    "nearest": lambda: nn.Upsample(scale_factor=2),
    "nearest to a size": of(lambda x: F.interpolate(x, size=(5, 7, 20))),
    "nearest by factors": of(lambda x: F.interpolate(x, scale_factor=(1.5, 1.25, 0.7))),
    "nearest exact": of(lambda x: F.interpolate(x, size=(12, 5, 20), mode="nearest-exact")),
    "trilinear": lambda: nn.Upsample(scale_factor=2, mode="trilinear"),
    "trilinear with corners": lambda: nn.Upsample(scale_factor=(1, 2, 2), mode="trilinear", align_corners=True),
    "trilinear to a size": of(lambda x: F.interpolate(x, size=(5, 20, 7), mode="trilinear")),
    "trilinear by factors": of(lambda x: F.interpolate(x, scale_factor=(1.3, 1.3, 0.7), mode="trilinear")),
    "bilinear of frames": of(lambda x: F.interpolate(x[:, :, 0], size=(9, 17), mode="bilinear")),
    "nearest of frames by factors": of(lambda x: F.interpolate(x[:, :, 0], scale_factor=(1.3, 0.7))),
    "bilinear of frames by factors": of(
        lambda x: F.interpolate(x[:, :, 0], scale_factor=(1.3, 1.25), mode="bilinear")
    ),
    "linear in time": of(lambda x: F.interpolate(x.mean((3, 4)), size=5, mode="linear")),
    "area": of(lambda x: F.interpolate(x, size=(4, 5, 5), mode="area")),
    "pixel shuffle": of(lambda x, f: F.pixel_shuffle(f(x).transpose(1, 2), 2), nn.Conv3d(3, 8, 1)),
    "pixel unshuffle": of(lambda x: F.pixel_unshuffle(x.transpose(1, 2), 2)),
    # data movement
    "channel shuffle": of(lambda x, f: shuffle(f(x)), nn.Conv3d(3, 6, 1)),
    "channel shuffle of torch": of(lambda x, f: F.channel_shuffle(f(x), 2), nn.Conv3d(3, 6, 1)),
    "torn apart": of(lambda x: x.permute(0, 3, 1, 4, 2)),
    "patches": of(patches),
    "window attention": of(windows),
    "shift": of(shift),
    "shift by joining": of(joined_shift),
    "rolled": of(lambda x: x.roll((1, -2, 3), (2, 3, 4)) + x.roll(1)),
    "flipped": of(lambda x: x.flip(2) + x.flip((1, 4))),
    "fast and slow": of(fast_and_slow),
    "many positions": of(lambda x: x[:, :, [7, 0, 6, 1, 5, 2, 4, 3, 0, 7]] + x[:, :, torch.arange(10) % 3]),
    "positions from behind": of(
        lambda x: x[:, :, [-1, -3] * 8] + torch.arange(12.0).view(12, 1)[[-1]] + x[:, :, [*range(-1, -9, -1)] * 2]
    ),
    "positions in two axes": of(
        lambda x: x[..., [0, 3, -1], [2, 2, 1]] + x[:, [[0], [-1]], [1, 4, 2]].mean((1, 3, 4))[:, None, None]
    ),
    "positions in axes apart": of(lambda x: x[:, [0, 2], :, [1, -1]] + x[:, :, [1, 2], 0, [5, 6]].mean()),
    "strided": of(lambda x: x[:, :, 1::3] + x[:, :, 1:7:2][:, :, :, ::1] + x[:, :, ::4, ::12, ::10][:, :, :1]),
    "strided in space": of(lambda x: x[..., ::2, ::2]),
    "expanded": of(
        lambda x: x.mean((2, 3, 4), keepdim=True).expand_as(x) * x + x[:, :1, :1].expand(-1, 3, 8, -1, -1)
    ),
    "expanded far apart": of(lambda x: x[:, :, :1, :, :1].expand(-1, 3, 8, 12, 10).contiguous()),
    "repeated": of(lambda x: x.repeat(1, 2, 1, 1, 1) + x[:, :, :, :1].repeat(1, 2, 1, 12, 1)),
    "repeated each": of(lambda x: x.repeat_interleave(2, 2) + torch.repeat_interleave(x, 2, dim=2)),
    "stacked": of(lambda x: torch.stack([x, x + 1], 2).flatten(1, 2) + torch.stack([x] * 2, 1).flatten(1, 2)),
    "unbound": of(lambda x: sum(f.mean((2, 3)) for f in x.unbind(2)) + sum(x.chunk(4, 2)).mean((2, 3, 4))),
    "unfolded": of(lambda x: x.unfold(2, 3, 2).mean(-1)),
    "unflattened": of(lambda x: x.flatten(2).unflatten(2, (2, 4, 12, 10)).movedim(2, 1)),
    "squeezed": of(lambda x: x[:, :1].squeeze(1).unsqueeze(2).unsqueeze(1).squeeze(1)),
    "one-hot frame written": of(lambda x: torch.select_scatter(x, x[:, :, 0] * 2, 2, 3)),
    # padding
    "padded with ones": of(lambda x: F.pad(x, (1, 0, 0, 2, 1, 1), value=1.0)),
    "padded with frames": of(lambda x: F.pad(x, (0, 0, 0, 0, 2, 1), mode="replicate")),
    "padded by reflection": of(lambda x: F.pad(x, (1, 2, 3, 0, 1, 1), mode="reflect")),
    "padded in circles": lambda: nn.Conv3d(3, 4, 3, padding=1, padding_mode="circular"),
    "padded by repetition": lambda: nn.Conv3d(3, 4, (3, 1, 3), padding=(1, 0, 1), padding_mode="replicate"),
    "padded channels": of(lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, 2))),
    "padded by less than nothing": of(lambda x, f: f(F.pad(x, (-1, 1, 2, -2, -1, 0))), nn.Conv3d(3, 4, 3)),
    "whole numbers padded": of(lambda x: F.pad((x > 0.5).long(), (1, 0, 2, 1), value=3).float()),
    "same padding": lambda: nn.Conv3d(3, 4, (3, 2, 5), padding="same"),
    "same and valid padding of frames": of(
        lambda x, *layers: nn.Sequential(*layers)(x[:, :, 0]),
        nn.Conv2d(3, 4, (3, 2), padding="same", bias=False),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 5, 3, stride=2, padding="valid"),
    ),
    "same padding in time": of(
        lambda x, f: f(x.mean((3, 4))), nn.Conv1d(3, 4, 4, padding="same", dilation=3)
    ),
    # elementwise
    "mish and softplus": lambda: nn.Sequential(nn.Mish(), nn.Softplus(), nn.Softplus(beta=3.0)),
    "softplus with a threshold": of(lambda x, f: f(3 * x), nn.Softplus(threshold=1)),
    "prelu": lambda: nn.Sequential(nn.Conv3d(3, 4, 1), nn.PReLU(), nn.PReLU(4)),
    "glu": of(lambda x, f: F.glu(f(x), 1), nn.Conv3d(3, 4, 1)),
    "curves": lambda: nn.Sequential(
        nn.Conv3d(3, 4, 1), nn.CELU(), nn.SELU(), nn.LogSigmoid(), nn.Softsign(), nn.Hardtanh(-0.5, 0.3),
        nn.Tanhshrink(), nn.Threshold(-0.01, -0.02), nn.Identity(),
    ),
    "shrinks": of(lambda x: F.hardshrink(x - 0.5, 0.2) + F.softshrink(x - 0.5, 0.2) + F.rrelu(x - 0.5)),
    "powers and logarithms": of(lambda x: (x + 1).log() + x.sqrt() + (-x).exp() + x**3 + (x + 1).pow(-0.5) + 2**x),
    "where": of(
        lambda x: torch.where(x > 0.5, x, torch.zeros(())) + x.masked_fill(x < 0.1, 0.7) + (x != 0.3).float()
    ),
    "lerp": of(lambda x: torch.lerp(x, x.roll(1, 2), 0.3) + torch.addcmul(x, x, x, value=0.1)),
    "broadcast over everything": of(lambda x: x[:, :, :1, :1] * x[:, :, :, :, :1]),
    "matrix of lower rank": of(lambda x: x * x[0, 0, 0] + x.mean((0, 1, 2))),
    "statistics": of(lambda x: x.std((2, 3, 4)) + x.var(2).mean((2, 3)) + x.logsumexp((2, 3, 4)) + x.norm()),
    "sums": of(lambda x: x.sum((1, 3)).sum(1) + x.sum() + x.sum((0, 2, 4)).mean() + x.mean((1, 2)).mean()),
    "places of maxima": of(lambda x: x.argmax(1).float() + x.flatten(1).argmax(1).view(-1, 1, 1, 1)),
    "running sum": of(lambda x: x.cumsum(2) + x.cumsum(-1)),
    "running sum of whole numbers": of(
        lambda x: (x > 0.5).cumsum(2) + (x[:, :, 0] > 0.5).long().cumsum(1)[:, :, None]
        + (x * 9).cumsum(1, dtype=torch.int64)
    ),
    "counted in other numbers": of(
        lambda x: (x > 0.5).mean((2, 3, 4), dtype=x.dtype) + (x[:, :, 0] > 0.5).mean((2, 3), dtype=x.dtype)
        + (x > 0.5).mean(dtype=x.dtype) + (4 * x).sum((2, 3, 4), dtype=torch.int64)
    ),
    "softmax over time": of(lambda x: x.softmax(2) + x.softmax(1) + x.log_softmax(-1) + F.softmin(x, 3)),
    "coordinates": of(
        lambda x: torch.cat([x, torch.linspace(-1, 1, 12).view(1, 1, 1, 12, 1).expand(len(x), 1, 8, 12, 10)], 1)
    ),
    "functions of whole numbers": of(
        lambda x: (x * 9).long().sqrt() + (x > 0.5).long().exp() + torch.sigmoid((x * 9).long())
        + (x * 9).long() ** 0.5 + (x > 0.5).sin() + torch.atan2((x * 9).long(), (x > 0.5).long() + 1)
    ),
    "gelu by tanh": of(lambda x: torch.nn.functional.gelu(x * 6 - 3, approximate="tanh")),
    "reciprocals": of(lambda x: 1 / (x + 0.1) + (x * 4 + 1).long().reciprocal()),
    "logarithms": of(
        lambda x: (x + 0.1).log2() + (x + 0.1).log10() + torch.logit(x, 0.1) + torch.logaddexp(x, 2 * x)
    ),
    "angles": of(
        lambda x: torch.atan2(x - 0.5, x.flip(2) - 0.5) + x.tan() + x.asin() + x.acos() + x.atan() + x.sinh()
        + torch.atan2(x - 0.5, x[:, :1, :, :1] - 0.5) + torch.atan2(x[..., :1], x) + x.cosh() + x.asinh()
        + (x + 1.1).acosh() + (x * 0.9).atanh() + torch.hypot(x, x.flip(2)) + torch.sinc(x)
    ),
    "error functions": of(lambda x: torch.erf(x - 0.5) + torch.erfc(x) + torch.exp2(x)),
    "remainders": of(
        lambda x: (x - 0.5) % 0.3 + torch.fmod(x - 0.5, 0.3)
        + torch.remainder(x - 0.5, x.mean((3, 4), keepdim=True))
        + torch.fmod(x - 0.5, 0.1 + x.amax(2, keepdim=True)) + torch.remainder(2.0, x + 0.5)
    ),
    "rounding divisions": of(
        lambda x: (x * 9) // 0.7 + torch.div(x * 9 - 4, 0.7, rounding_mode="trunc")
        + (x * 9 - 4) // (x.flip(3) + 0.3)
        + torch.div(x * 9 - 4, x.flip(3) + 0.3, rounding_mode="trunc") + (x * 9 - 4).trunc() + (x * 9).frac()
        + torch.round(x, decimals=2)
    ),
    "clamped by tensors": of(
        lambda x: torch.clamp(x, x.flip(2) - 0.2, x.flip(2) + 0.1) + x.clamp(min=x.mean(2, keepdim=True))
        + x.clamp(max=torch.linspace(0, 1, 10))
    ),
    "products of many": of(
        lambda x: (x + 0.5).prod(2) + (x + 0.5).mean((2, 4)).prod(1, keepdim=True)[..., None]
    ),
    "all numbers multiplied": of(lambda x: (x * 0.01 + 1).prod().view(1)),
    "any and all": of(
        lambda x: (x > 0.9).any(2).float() + (x > 0.1).all(2).float() + (x > 0.99).any().float()
        + torch.any(x > 0.9, dim=(2, 3)).float()[:, :, None] + torch.count_nonzero(F.relu(x - 0.5), dim=2)
    ),
    "logic": of(
        lambda x: ((x > 0.2) ^ (x > 0.6)).float() + torch.logical_xor(x > 0.2, x > 0.6).float()
        + torch.logical_and(F.relu(x - 0.3), x).float() + (~(x > 0.5)).float() + torch.signbit(x - 0.5).float()
        + torch.bucketize(x, torch.tensor([0.2, 0.5])).float()
    ),
    "sums of truth values": of(
        lambda x: ((x > 0.2) * (x < 0.6)).float() + ((x > 0.8) + (x < 0.1)).float()
        + torch.maximum(x > 0.8, x < 0.1).float() + torch.minimum(x > 0.2, x[:, :, :1] < 0.6).float()
    ),
    "what is no number": of(
        lambda x: torch.nan_to_num((x - 0.5).sqrt(), 0.3) + (x - 0.5).sqrt().isnan().float()
        + (1 / F.relu(x - 0.5)).isinf().float() + (x - 0.5).log().isfinite().float()
    ),
    "running products and extremes": of(lambda x: (x + 0.5).cumprod(2) + x.cummax(3)[0] + x.cummin(2)[0]),
    "in order": of(
        lambda x: x.sort(2)[0] + x.sort(3, descending=True)[0] + x.topk(1, 2)[0] + x.median(2)[0][:, :, None]
        + x.kthvalue(3, 4)[0].unsqueeze(4) + x.topk(2, 1)[1].float().sum(1, keepdim=True)
    ),
    "chosen by the input": of(
        lambda x: x.gather(2, x.argmax(2, keepdim=True)) + torch.take_along_dim(x, x.argsort(2), 2)
        + x[torch.arange(len(x)), :, x.mean((1, 3, 4)).argmax(-1)][:, :, None]
    ),
    "written by number": of(
        lambda x: torch.zeros_like(x).scatter(2, x.argmax(2, keepdim=True), 1.0)
        + x.index_fill(2, torch.tensor([0, 3]), 0.5) + x.index_add(2, torch.tensor([1, 1]), x[:, :, :2])
        + torch.zeros_like(x).scatter_add(
            2, torch.tensor([1, 0, 1, 2, 0, 0, 3, 7]).view(1, 1, 8, 1, 1).expand_as(x), x
        )
    ),
    "assigned to parts": of(lambda x: assigned(x)),
    "diagonal": of(lambda x: x.diagonal(1, 3, 4) + torch.einsum("nctii->nct", x[..., :9, :9])[..., None]),
    "converted before a softmax": of(
        lambda x: (x > 0.5).long().softmax(2, dtype=torch.float32)
        + (x > 0.5).log_softmax(1, dtype=torch.float32) + (x > 0.5).float() * (x > 0.5).long().roll(1, 2)
    ),
    "norms": of(
        lambda x: torch.linalg.vector_norm(x, float("-inf"), dim=1)
        + torch.linalg.vector_norm(F.relu(x - 0.5), 0, dim=1)
        + torch.linalg.vector_norm(x, 3, dim=1) + x.norm(1, dim=1)
    ),
    # products
    "einsum": of(lambda x: torch.einsum("ncthw,ndthw->ncd", x, x)),
    "einsum over frames": of(lambda x: torch.einsum("ncthw,ncshw->nts", x, x)),
    "einsum of rank 6": of(lambda x: torch.einsum("ncthw,ncsij->ntshi", x, x)),
    "matmul of rank 5": of(lambda x: x @ x.mT + x.mean(1, keepdim=True) @ x.mean(2, keepdim=True).mT),
    "matmul with a vector": of(lambda x: (x @ torch.ones(10))[..., None] + x @ torch.ones(10, 12)),
    "attention of rank 5": of(attention_5d),
    "causal attention": of(causal_attention),
    "masked attention": of(masked_attention),
    "linear of rank 6": of(lambda x, f: f(x.unflatten(2, (4, 2))).flatten(2, 3), nn.Linear(10, 4)),
    "bilinear": of(lambda x, f: f(x.mean((2, 3, 4)), x.amax((2, 3, 4))), nn.Bilinear(3, 3, 4)),
    # other layers
    "gru": of(recurrent, nn.GRU(3, 5, batch_first=True, bidirectional=True)),
    "lstm": of(last_state, nn.LSTM(3, 5, num_layers=2, bidirectional=True, dropout=0.1)),
    "lstm with projection": of(recurrent, nn.LSTM(3, 5, batch_first=True, proj_size=2)),
    "rnn": of(recurrent, nn.RNN(3, 5, batch_first=True, nonlinearity="relu")),
    "cells": of(cells, nn.LSTMCell(3, 5), nn.GRUCell(5, 5)),
    "multi-head attention": of(
        lambda x, f: f(*[tokens(x)] * 3, need_weights=False)[0], nn.MultiheadAttention(3, 3, batch_first=True)
    ),
    "multi-head attention with weights": of(
        lambda x, f: f(*[x.mean((3, 4)).permute(2, 0, 1)] * 3)[1], nn.MultiheadAttention(3, 3)
    ),
    "transformer encoder": of(
        lambda x, f: f(tokens(x)),
        nn.TransformerEncoder(nn.TransformerEncoderLayer(3, 3, 8, batch_first=True, norm_first=True), 1),
    ),
    "transformer decoder": of(
        lambda x, f: f(tokens(x), tokens(x)), nn.TransformerDecoderLayer(3, 1, 8, batch_first=True)
    ),
    "1D convolutions": lambda: nn.Sequential(
        nn.Conv3d(3, 4, 1), nn.AdaptiveAvgPool3d((None, 1, 1)), nn.Flatten(2),
        nn.Conv1d(4, 4, 3, padding=1, groups=2), nn.BatchNorm1d(4), nn.MaxPool1d(2), nn.AvgPool1d(2),
    ),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv3d(3, 4, 3)),
    "no gradients inside": of(lambda x, f: f(no_gradients(x)), nn.Conv3d(3, 4, 1)),
}  # fmt: skip
"""Name -> network on clips `N 3 8 12 10`."""


def no_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x * 2


def assigned(x: Tensor) -> Tensor:
    x = x.clone()
    x[:, :, [0, 2]] = 0.5
    x[x < 0.2] = 0.0
    return x
