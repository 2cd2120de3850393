"""Transformers and attention over clips: tubelets, divided, windowed and pooled attention, non-local blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention as in timm: one linear layer for queries, keys and values."""

    def __init__(self, dim: int, heads: int = 2) -> None:
        super().__init__()
        self.num_heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)
        self.attn_drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, c // self.num_heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        attn = (q @ k.transpose(-2, -1)) * self.scale
        attn = self.attn_drop(attn.softmax(dim=-1))
        return self.proj((attn @ v).transpose(1, 2).reshape(b, n, c))


class Divided(nn.Module):
    """Divided space-time attention: first over time at each position, then over the positions of each frame."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.temporal_norm, self.temporal, self.temporal_fc = (
            nn.LayerNorm(dim),
            Attention(dim),
            nn.Linear(dim, dim),
        )
        self.norm1, self.attn, self.norm2 = nn.LayerNorm(dim), Attention(dim), nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, b: int, t: int, w: int) -> Tensor:
        m = x.shape[2]
        h = (x.size(1) - 1) // t // w
        init, xt = x[:, 0, :].unsqueeze(1), x[:, 1:, :]
        res = self.temporal(self.temporal_norm(xt.reshape(b, h, w, t, m).reshape(b * h * w, t, m)))
        xt = xt + self.temporal_fc(res.reshape(b, h, w, t, m).reshape(b, h * w * t, m))
        cls = init.repeat(1, t, 1).reshape(b * t, m).unsqueeze(1)
        xs = xt.reshape(b, h, w, t, m).permute(0, 3, 1, 2, 4).reshape(b * t, h * w, m)
        res = self.attn(self.norm1(torch.cat((cls, xs), 1)))
        cls = torch.mean(res[:, 0, :].reshape(b, t, m), 1, True)
        res = res[:, 1:, :].reshape(b, t, h, w, m).permute(0, 2, 3, 1, 4).reshape(b, h * w * t, m)
        x = torch.cat((init, xt), 1) + torch.cat((cls, res), 1)
        return x + self.mlp(self.norm2(x))


class TimeSformer(nn.Module):
    def __init__(self, dim: int = 8, patch: int = 4, frames: int = 8, places: int = 6) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, places + 1, dim))
        self.time_embed = nn.Parameter(torch.zeros(1, frames, dim))
        self.block, self.norm, self.head = Divided(dim), nn.LayerNorm(dim), nn.Linear(dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        b, c, t, h, w = x.shape
        x = self.patch(x.permute(0, 2, 1, 3, 4).reshape(b * t, c, h, w))
        width = x.size(-1)
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.size(0), -1, -1), x), dim=1) + self.pos_embed
        cls_tokens = x[:b, 0, :].unsqueeze(1)
        x = x[:, 1:]
        n, m = x.shape[1:]
        x = x.reshape(b, t, n, m).permute(0, 2, 1, 3).reshape(b * n, t, m) + self.time_embed
        x = torch.cat((cls_tokens, x.reshape(b, n, t, m).reshape(b, n * t, m)), dim=1)
        return self.head(self.norm(self.block(x, b, t, width))[:, 0])


class Windows(nn.Module):
    """Attention in shifted 3D windows with relative positions and a mask, and merging of patches (Swin)."""

    def __init__(self, dim: int = 6, window: tuple[int, int, int] = (2, 3, 3)) -> None:
        super().__init__()
        self.window, self.shift, self.heads = window, tuple(size // 2 for size in window), 2
        self.embed = nn.Conv3d(3, dim, (2, 2, 2), (2, 2, 2))
        self.norm, self.qkv, self.proj = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        count = window[0] * window[1] * window[2]
        self.table = nn.Parameter(torch.zeros(2 * count, self.heads))
        places = torch.arange(count)
        self.register_buffer("index", places[:, None] - places[None] + count - 1)
        self.reduction, self.merge_norm = nn.Linear(4 * dim, 2 * dim, bias=False), nn.LayerNorm(4 * dim)

    def partition(self, x: Tensor) -> Tensor:
        b, d, h, w, c = x.shape
        i, j, k = self.window
        x = x.view(b, d // i, i, h // j, j, w // k, k, c)
        return x.permute(0, 1, 3, 5, 2, 4, 6, 7).contiguous().view(-1, i * j * k, c)

    def reverse(self, windows: Tensor, b: int, d: int, h: int, w: int) -> Tensor:
        i, j, k = self.window
        x = windows.view(b, d // i, h // j, w // k, i, j, k, -1)
        return x.permute(0, 1, 4, 2, 5, 3, 6, 7).contiguous().view(b, d, h, w, -1)

    def mask(self, d: int, h: int, w: int) -> Tensor:
        regions, count = torch.zeros(1, d, h, w, 1), 0
        spans = [
            (slice(-n), slice(-n, -s), slice(-s, None)) for n, s in zip(self.window, self.shift, strict=True)
        ]
        for ds in spans[0]:
            for hs in spans[1]:
                for ws in spans[2]:
                    regions[:, ds, hs, ws, :] = count
                    count += 1
        numbers = self.partition(regions).squeeze(-1)
        apart = numbers.unsqueeze(1) - numbers.unsqueeze(2)
        return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)

    def forward(self, clip: Tensor) -> Tensor:
        x = self.embed(clip).permute(0, 2, 3, 4, 1)
        shortcut = x
        b, d, h, w, c = x.shape
        pads = [(-size) % n for size, n in zip((d, h, w), self.window, strict=True)]
        x = F.pad(self.norm(x), (0, 0, 0, pads[2], 0, pads[1], 0, pads[0]))
        _, dp, hp, wp, _ = x.shape
        x = torch.roll(x, shifts=tuple(-s for s in self.shift), dims=(1, 2, 3))
        windows = self.partition(x)
        n = windows.shape[1]
        qkv = self.qkv(windows).reshape(-1, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attn = qkv[0] @ qkv[1].transpose(-2, -1) * 0.5
        bias = self.table[self.index.reshape(-1)].reshape(n, n, -1).permute(2, 0, 1).contiguous()
        mask = self.mask(dp, hp, wp)
        attn = (attn + bias.unsqueeze(0)).view(b, -1, self.heads, n, n) + mask.unsqueeze(1).unsqueeze(0)
        attn = attn.view(-1, self.heads, n, n).softmax(-1)
        x = self.proj((attn @ qkv[2]).transpose(1, 2).reshape(-1, n, c))
        x = torch.roll(self.reverse(x, b, dp, hp, wp), shifts=self.shift, dims=(1, 2, 3))
        x = shortcut + x[:, :d, :h, :w, :].contiguous()
        x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        parts = [
            x[:, :, 0::2, 0::2, :],
            x[:, :, 1::2, 0::2, :],
            x[:, :, 0::2, 1::2, :],
            x[:, :, 1::2, 1::2, :],
        ]
        return self.reduction(self.merge_norm(torch.cat(parts, -1))).mean((1, 2, 3))


class Pooled(nn.Module):
    """Attention with keys and values pooled by a depthwise Conv3d over tokens, without the class token (MViT)."""

    def __init__(self, dim: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads, head = heads, dim // heads
        self.patch = nn.Conv3d(3, dim, (3, 7, 7), (2, 4, 4), (1, 3, 3))
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.space, self.time = nn.Parameter(torch.zeros(1, 9, dim)), nn.Parameter(torch.zeros(1, 4, dim))
        self.q, self.kv, self.proj = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.pool = nn.Conv3d(head, head, (3, 3, 3), stride=(1, 2, 2), padding=1, groups=head, bias=False)
        self.norm = nn.LayerNorm(head)

    def pooled(self, x: Tensor, thw: tuple[int, int, int]) -> Tensor:
        cls, x = x[:, :, :1, :], x[:, :, 1:, :]
        b, n, _, c = x.shape
        x = x.reshape(b * n, *thw, c).permute(0, 4, 1, 2, 3).contiguous()
        x = self.pool(x)
        x = x.reshape(b, n, c, -1).transpose(2, 3)
        return self.norm(torch.cat((cls, x), dim=2))

    def forward(self, clip: Tensor) -> Tensor:
        x = self.patch(clip)
        b, c, t, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)
        positions = self.space.repeat(1, t, 1) + torch.repeat_interleave(self.time, h * w, dim=1)
        x = torch.cat((self.cls.expand(b, -1, -1), x + positions), dim=1)
        q = self.q(x).view(b, -1, self.heads, c // self.heads).transpose(1, 2)
        k, v = self.kv(x).view(b, -1, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        k, v = self.pooled(k, (t, h, w)), self.pooled(v, (t, h, w))
        x = F.scaled_dot_product_attention(q, k, v) + q
        return self.proj(x.transpose(1, 2).flatten(2))[:, 0]


class NonLocal(nn.Module):
    """Embedded Gaussian non-local block with pooled keys, its BatchNorm beginning at zero."""

    def __init__(self, channels: int = 4, inner: int = 2) -> None:
        super().__init__()
        self.inner, self.stem = inner, nn.Conv3d(3, channels, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        self.g = nn.Sequential(nn.Conv3d(channels, inner, 1), nn.MaxPool3d((1, 2, 2)))
        self.theta = nn.Conv3d(channels, inner, 1)
        self.phi = nn.Sequential(nn.Conv3d(channels, inner, 1), nn.MaxPool3d((1, 2, 2)))
        self.W = nn.Sequential(nn.Conv3d(inner, channels, 1), nn.BatchNorm3d(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        batch_size = x.size(0)
        g_x = self.g(x).view(batch_size, self.inner, -1).permute(0, 2, 1)
        theta_x = self.theta(x).view(batch_size, self.inner, -1).permute(0, 2, 1)
        phi_x = self.phi(x).view(batch_size, self.inner, -1)
        y = torch.matmul(F.softmax(torch.matmul(theta_x, phi_x), dim=-1), g_x)
        y = y.permute(0, 2, 1).contiguous().view(batch_size, self.inner, *x.size()[2:])
        return self.W(y) + x


class Latents(nn.Module):
    """Cross-attention from learned latents, soft-assignment to clusters (NetVLAD), attention over time."""

    def __init__(self, dim: int = 6, clusters: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, dim, 3, (1, 2, 2), 1)
        self.latents = nn.Parameter(torch.zeros(4, dim))
        self.cross = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.assign, self.centroids = nn.Conv3d(dim, clusters, 1), nn.Parameter(torch.zeros(clusters, dim))
        self.score = nn.Linear(dim, 1)

    def forward(self, clip: Tensor) -> Tensor:
        x = self.stem(clip)
        n, c = x.shape[:2]
        latents = self.latents.unsqueeze(0).repeat(n, 1, 1)
        tokens = x.flatten(2).transpose(1, 2) + sinusoids(x[0, 0].numel(), c)
        latents, _ = self.cross(latents, tokens, tokens)
        soft = self.assign(x).flatten(2).softmax(1)
        residual = x.flatten(2).unsqueeze(1) - self.centroids[None, :, :, None]
        vlad = F.normalize((residual * soft.unsqueeze(2)).sum(-1), p=2, dim=2).flatten(1)
        frames = x.mean((3, 4)).transpose(1, 2)
        weights = torch.softmax(torch.tanh(self.score(frames)), dim=1)
        return torch.cat([latents.mean(1), F.normalize(vlad, dim=1), torch.bmm(weights.mT, frames)[:, 0]], 1)


def sinusoids(length: int, dim: int) -> Tensor:
    positions = torch.arange(length).unsqueeze(1).float()
    rates = torch.exp(torch.arange(0, dim, 2).float() * -(torch.log(torch.tensor(10000.0)) / dim))
    table = torch.zeros(length, dim)
    table[:, 0::2], table[:, 1::2] = torch.sin(positions * rates), torch.cos(positions * rates)
    return table
