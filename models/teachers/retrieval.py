"""Retrieval: embeds clips and captions in a common space.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision" (CLIP),
section 2.3 and figure 3; the learned scale starts at 1 / 0.07 and ends at 100.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_FIRST_SCALE = 1 / 0.07
_LARGEST_SCALE = 100.0


class RetrievalHead(nn.Module):
    """Features of clips and of captions -> `N 2 F`: the embedding of the clip, then of its caption.

    Inner products of clip and caption embeddings are logits: embeddings have length 1, and those of clips are
    multiplied by a learned scale. A clip without a caption has a zero caption embedding.
    """

    def __init__(self, clip_features: int, text_features: int, *, features: int) -> None:
        super().__init__()
        self.clip = nn.Linear(clip_features, features)
        self.text = nn.Linear(text_features, features)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_FIRST_SCALE)))

    def forward(self, clip: Tensor, text: Tensor, has_text: Tensor) -> Tensor:
        """`clip` is `N F`, `text` is `N F'`, `has_text` is bool `N`."""
        scale = self.log_scale.clamp(max=math.log(_LARGEST_SCALE)).exp()
        clips = scale * functional.normalize(self.clip(clip), dim=1)
        texts = functional.normalize(self.text(text), dim=1)
        return torch.stack([clips, torch.where(has_text.unsqueeze(1), texts, 0.0)], dim=1)
