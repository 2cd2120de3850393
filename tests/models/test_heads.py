"""The layers that compute a network's outputs are found in any network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.heads import output_layers


class Two(nn.Module):
    """A mean of logits per frame, and a softmax over features of a frozen layer; a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 6)
        self.per_frame, self.other = nn.Conv1d(6, 3, 1), nn.Linear(6, 2)
        self.scale = nn.Parameter(torch.ones(()))
        self.other.requires_grad_(False)

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(clip).relu() * self.scale
        logits = self.per_frame(features.transpose(1, 2)).mean(2)
        return logits, self.other(features[:, -1]).softmax(1)


def test_functions_after_the_last_layer_do_not_matter():
    model = Two()
    assert {*output_layers(model, (torch.randn(2, 5, 4),))} == {model.per_frame, model.other}


def test_every_path_to_an_output_counts():
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            return x + self.second(x.relu())

    model = Sum()
    assert {*output_layers(model, (torch.randn(1, 4),))} == {model.first, model.second}


def test_a_network_of_embeddings_has_integer_inputs():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 3))
    assert output_layers(model, (torch.zeros(1, 2, dtype=torch.int64),)) == [model[1]]
