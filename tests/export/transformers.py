"""Small video transformers in their published forms: plain torch, without Pocketreel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Attention(nn.Module):
    """Queries, keys and values by one product, with a bias for only two of them (VideoMAE)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.project = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias, requires_grad=False), self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        q = q * (width // self.heads) ** -0.5
        weights = (q @ k.transpose(-2, -1)).softmax(-1)
        return self.project((weights @ v).transpose(1, 2).reshape(n, tokens, -1))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps=1e-6), _Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.narrow(F.gelu(self.widen(self.norm2(x))))


class VideoMae(nn.Module):
    """Tubelets of two frames, with full attention (Tong et al. 2022)."""

    def __init__(self, *, width: int = 32, heads: int = 4, depth: int = 2, size: int = 32) -> None:
        super().__init__()
        self.embed = nn.Conv3d(3, width, (2, 8, 8), (2, 8, 8))
        self.register_buffer("positions", torch.randn(1, 4 * (size // 8) ** 2, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 5)

    def forward(self, clip: Tensor) -> Tensor:
        x = self.embed(clip).flatten(2).transpose(1, 2)
        x = x + self.positions.type_as(x).to(x.device).clone().detach()
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x.mean(1)))


class _DividedBlock(nn.Module):
    """Attention over time, then over space (Bertasius et al. 2021)."""

    def __init__(self, width: int, heads: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.time_norm, self.time_linear = nn.LayerNorm(width), nn.Linear(width, width)
        self.over_time = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.over_space = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        t, p = self.frames, (tokens - 1) // self.frames
        first, rest = x[:, :1], x[:, 1:]
        y = rest.reshape(n * p, t, width)
        z = self.time_norm(y)
        y = y + self.time_linear(self.over_time(z, z, z, need_weights=False)[0])
        rest = y.reshape(n, p * t, width)
        repeated = first.repeat(1, t, 1).reshape(n * t, 1, width)
        pictures = rest.reshape(n, p, t, width).permute(0, 2, 1, 3).reshape(n * t, p, width)
        z = self.norm1(torch.cat((repeated, pictures), 1))
        found = self.over_space(z, z, z, need_weights=False)[0]
        mean = found[:, 0].reshape(n, t, width).mean(1, keepdim=True)
        found = found[:, 1:].reshape(n, t, p, width).permute(0, 2, 1, 3).reshape(n, p * t, width)
        x = torch.cat((first, rest), 1) + torch.cat((mean, found), 1)
        return x + self.mlp(self.norm2(x))


class TimeSformer(nn.Module):
    """Patches of images, a class token, divided attention."""

    def __init__(
        self, *, width: int = 32, heads: int = 4, depth: int = 2, frames: int = 8, size: int = 32
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, (size // 8) ** 2 + 1, width))
        self.times = nn.Parameter(torch.randn(1, frames, width))
        self.blocks = nn.ModuleList(_DividedBlock(width, heads, frames) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 5)

    def forward(self, clip: Tensor) -> Tensor:
        n, c, t, h, w = clip.shape
        x = self.patches(clip.permute(0, 2, 1, 3, 4).reshape(n * t, c, h, w)).flatten(2).transpose(1, 2)
        p = x.shape[1]
        x = torch.cat((self.first.expand(n * t, -1, -1), x), 1) + self.places
        first = x[:n, :1]
        x = x[:, 1:].reshape(n, t, p, -1).permute(0, 2, 1, 3).reshape(n * p, t, -1) + self.times
        x = torch.cat((first, x.reshape(n, p * t, -1)), 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])
