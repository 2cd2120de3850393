"""Text encoders over tokens `N L`: a mean of embeddings, an LSTM, a transformer. Padding is masked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.ranges import within
from models.spec import PAD_TOKEN, ClipSpec, TextSpec
from models.teachers.encoder import Encoder
from models.video_transformer import TransformerBlock


@dataclass(frozen=True, kw_only=True)
class TextMeanOptions:
    """Size of a mean of word embeddings."""

    features: int = within(64, 1, 8_192)
    """Features of an embedding and of the output."""


@dataclass(frozen=True, kw_only=True)
class TextLstmOptions:
    """Size of an LSTM over words."""

    features: int = within(128, 1, 8_192)
    """Features of an embedding and of the LSTM."""
    layers: int = within(1, 1, 16)
    """Number of stacked LSTMs."""

    def __post_init__(self) -> None:
        if self.features < 1 or self.layers < 1:
            raise ValueError(
                f"an LSTM has at least 1 feature and 1 layer, not {self.features} and {self.layers}"
            )


@dataclass(frozen=True, kw_only=True)
class TextTransformerOptions:
    """Size of a transformer over words."""

    features: int = within(128, 1, 8_192)
    """Features of a token; a multiple of `heads`."""
    heads: int = within(4, 1, 64)
    """Number of attention heads."""
    blocks: int = within(2, 1, 64)
    """Number of transformer blocks."""

    def __post_init__(self) -> None:
        if self.heads < 1 or self.blocks < 1 or self.features < 1 or self.features % self.heads:
            raise ValueError(
                f"features is {self.features}, heads {self.heads}, blocks {self.blocks}: give 1 or more of each, "
                "features a multiple of heads"
            )


class TextMean(nn.Module):
    """Tokens `N L` -> `N features`: the mean of the word embeddings, then a linear layer."""

    def __init__(self, text: TextSpec, *, features: int) -> None:
        super().__init__()
        self.embedding = _embedding(text, features)
        self.layer = nn.Sequential(nn.Linear(features, features), nn.ReLU(inplace=True))
        self.features = features

    def forward(self, tokens: Tensor) -> Tensor:
        """A caption without words gives the layer's output for zeros."""
        return self.layer(_mean(self.embedding(tokens), tokens))


class TextLstm(nn.Module):
    """Tokens `N L` -> `N features`: the state of an LSTM (Hochreiter and Schmidhuber 1997) after the last word."""

    def __init__(self, text: TextSpec, *, features: int, layers: int) -> None:
        super().__init__()
        self.embedding = _embedding(text, features)
        self.recurrent = nn.LSTM(features, features, layers, batch_first=True)
        self.features = features

    def forward(self, tokens: Tensor) -> Tensor:
        """A caption without words gives the state after one padding token."""
        states = self.recurrent(self.embedding(tokens))[0]
        last = (tokens != PAD_TOKEN).sum(1).sub(1).clamp(min=0)
        return states.gather(1, last.view(-1, 1, 1).expand(-1, 1, self.features)).squeeze(1)


class TextTransformer(nn.Module):
    """Tokens `N L` -> `N features`: the mean over words of a transformer with learned positions.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.1, normalised before each part as in ViT.
    """

    def __init__(self, text: TextSpec, *, features: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.embedding = _embedding(text, features)
        self.position = nn.Parameter(0.02 * torch.randn(1, text.length, features))
        self.blocks = nn.ModuleList(TransformerBlock(features, heads=heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(features)
        self.features = features

    def forward(self, tokens: Tensor) -> Tensor:
        """A caption without words gives zeros."""
        there = tokens != PAD_TOKEN
        # Softmax over no words is undefined, so such a caption attends to its padding.
        looked_at = there | ~there.any(1, keepdim=True)
        x = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = block(x, there=looked_at)
        return _mean(self.norm(x), tokens)


def _embedding(text: TextSpec, features: int) -> nn.Embedding:
    return nn.Embedding(len(text.vocabulary) + 2, features, padding_idx=PAD_TOKEN)


def _mean(x: Tensor, tokens: Tensor) -> Tensor:
    """The mean of `N L F` over words; zeros if there are none."""
    there = (tokens != PAD_TOKEN).unsqueeze(-1)
    return (x * there).sum(1) / there.sum(1).clamp(min=1)


def _built(kind: Callable[..., nn.Module]) -> Callable[[ClipSpec, object], nn.Module]:
    """A builder that passes the options to the encoder `kind`."""

    def build(spec: ClipSpec, options: object) -> nn.Module:
        assert spec.text is not None
        return kind(spec.text, **{name: value for name, value in vars(options).items() if name != "name"})

    return build


TEXT_ENCODERS: dict[str, Encoder] = {
    "mean": Encoder(build=_built(TextMean), options=TextMeanOptions),
    "lstm": Encoder(build=_built(TextLstm), options=TextLstmOptions),
    "transformer": Encoder(build=_built(TextTransformer), options=TextTransformerOptions),
}
