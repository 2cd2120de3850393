"""Networks with several pathways, inputs or outputs, and recurrent ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SlowFast(nn.Module):
    """Two frame rates from one clip, lateral connections, pathways as lists of tensors."""

    def __init__(self, alpha: int = 4) -> None:
        super().__init__()
        self.alpha = alpha
        self.stems = nn.ModuleList(
            [
                nn.Sequential(nn.Conv3d(3, 8, (1, 7, 7), (1, 2, 2), (0, 3, 3)), nn.BatchNorm3d(8), nn.ReLU()),
                nn.Sequential(nn.Conv3d(3, 2, (5, 7, 7), (1, 2, 2), (2, 3, 3)), nn.BatchNorm3d(2), nn.ReLU()),
            ]
        )
        self.lateral = nn.Conv3d(2, 4, (7, 1, 1), stride=(alpha, 1, 1), padding=(3, 0, 0), bias=False)
        self.blocks = nn.ModuleList(
            [nn.Conv3d(12, 8, (1, 3, 3), padding=(0, 1, 1)), nn.Conv3d(2, 2, 3, padding=1)]
        )
        self.head = nn.Linear(10, 4)

    def pathways(self, frames: Tensor) -> list[Tensor]:
        index = torch.linspace(0, frames.shape[2] - 1, frames.shape[2] // self.alpha).long()
        return [torch.index_select(frames, 2, index), frames]

    def forward(self, clip: Tensor) -> Tensor:
        x = self.pathways(clip)
        x = [stem(x[i]) for i, stem in enumerate(self.stems)]
        x[0] = torch.cat([x[0], self.lateral(x[1])], 1)
        x = [block(x[i]) for i, block in enumerate(self.blocks)]
        pooled = [nn.AvgPool3d(y.shape[2:], stride=1)(y) for y in x]
        y = torch.cat(pooled, dim=1).permute((0, 2, 3, 4, 1))
        return self.head(y).softmax(dim=4).mean([1, 2, 3]).view(clip.shape[0], -1)


class Everything(nn.Module):
    """Clip, log-mel spectrogram and tokens; gated fusion, cross-attention, a padding mask; a dict of outputs."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.video = nn.Sequential(
            nn.Conv3d(3, dim, 3, (1, 2, 2), 1, bias=False), nn.BatchNorm3d(dim), nn.Hardswish(),
            nn.AdaptiveAvgPool3d((4, 1, 1)), nn.Flatten(2),
        )  # fmt: skip
        self.audio = nn.Sequential(
            nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, dim, 3, 2, 1), nn.ReLU()
        )
        self.words = nn.Embedding(20, 6, padding_idx=0)
        self.reader = nn.LSTM(6, dim // 2, batch_first=True, bidirectional=True)
        self.cross = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.gates = nn.ModuleDict({name: nn.Linear(dim, dim) for name in ("clip", "audio", "text")})
        self.action, self.tags = nn.Linear(dim, 4), nn.Linear(dim, 6)
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def forward(self, clip: Tensor, audio: Tensor, text: Tensor) -> dict[str, object]:
        frames = self.video(clip).transpose(1, 2)
        mask = text.ne(0)
        words, _ = self.reader(self.words(text))
        weight = mask.unsqueeze(-1).float()
        sentence = (words * weight).sum(1) / weight.sum(1).clamp(min=1)
        attended, _ = self.cross(frames, words, words, key_padding_mask=~mask)
        parts = {
            "clip": (frames + attended).mean(1),
            "audio": self.audio(audio).mean((2, 3)),
            "text": sentence,
        }
        fused = sum(torch.sigmoid(self.gates[name](x)) * torch.tanh(x) for name, x in parts.items())
        video, caption = F.normalize(parts["clip"], dim=-1), F.normalize(sentence, dim=-1)
        return {
            "logits": self.action(fused),
            "tags": [self.tags(fused), None],
            "match": {"similarity": video @ caption.t() / self.temperature},
        }


class Frames(nn.Module):
    """2D network per frame, bidirectional GRU over time, attention pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU6(), nn.Conv2d(6, 6, 3, 1, 1, groups=6), nn.SiLU(),
            nn.AdaptiveAvgPool2d((1, 1)),
        )  # fmt: skip
        self.rnn = nn.GRU(6, 5, num_layers=2, bidirectional=True, batch_first=True)
        self.attn, self.fc = nn.Linear(10, 1), nn.Linear(10, 3)

    def forward(self, clip: Tensor) -> Tensor:
        b, c, t, h, w = clip.shape
        frames = clip.transpose(1, 2).contiguous().view(b * t, c, h, w)
        out, h_n = self.rnn(self.cnn(frames).view(b, t, -1))
        pooled = (torch.softmax(self.attn(out), 1) * out).sum(dim=1)
        return self.fc(pooled + torch.cat((h_n[-2], h_n[-1]), dim=1))


class Chomped(nn.Module):
    """Dilated causal convolutions over features of frames, with cropped ends; gated as in WaveNet."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv3d(3, channels, (1, 5, 5), (1, 2, 2))
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(
                nn.Conv1d(channels, 2 * channels, 3, padding=2 * d, dilation=d)
            )
            for d in (1, 2)
        )
        self.norm, self.head = nn.LayerNorm(channels), nn.Linear(channels, 3)

    def forward(self, clip: Tensor) -> Tensor:
        x = self.stem(clip).flatten(start_dim=3).mean(-1)
        for layer in self.layers:
            filtered, gate = layer(x)[:, :, : -layer.padding[0]].chunk(2, dim=1)
            x = x + torch.tanh(filtered) * torch.sigmoid(gate)
        return self.head(self.norm(x.permute(0, 2, 1))[:, -1])


class Views(nn.Module):
    """Several crops of a clip in one input, N V*C T H W; their logits averaged."""

    def __init__(self, views: int = 2) -> None:
        super().__init__()
        self.views, self.net = views, nn.Sequential(nn.Conv3d(3, 4, 3), nn.ReLU(), nn.Conv3d(4, 4, (3, 1, 1)))

    def forward(self, clips: Tensor) -> tuple[Tensor, list[Tensor]]:
        n, _, *rest = clips.shape
        x = self.net(clips.view(n * self.views, -1, *rest))
        x = x.unflatten(0, (n, self.views))
        return x.mean((3, 4, 5)).mean(1), [x.amax(dim=(-3, -2, -1)).argmax(-1), x[:, 0, :, -1].softmax(1)]


class Forecast(nn.Module):
    """Predicts frames one after the other from the last ones, with running statistics over time."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(12, 6)
        self.inward, self.outward = nn.Linear(3 * 5 * 4, 12), nn.Linear(6, 12)

    def forward(self, clip: Tensor) -> Tensor:
        small = F.interpolate(clip, size=(clip.shape[2], 5, 4), mode="area")
        steps = self.inward(small.transpose(1, 2).flatten(2))
        counts = torch.arange(1, steps.shape[1] + 1).view(1, -1, 1)
        steps = steps - steps.cumsum(1) / counts
        state = None
        for step in steps.unbind(1):
            state = self.cell(step, state)
        frame, frames = self.outward(state[0]), []
        for _ in range(3):
            state = self.cell(frame, state)
            frame = frame + self.outward(state[0])
            frames.append(frame)
        return torch.stack(frames, 1)
