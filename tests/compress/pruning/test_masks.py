"""Masks of single weights."""

from __future__ import annotations

import torch
from torch import nn

from compress.pruning.masks import (
    deflated_bytes,
    masked,
    masks_of,
    prunable_weights,
    share_of_zeros,
    sparse_bytes,
)


def test_two_of_four_keeps_the_two_largest_of_every_four_and_the_rest_of_a_row():
    weight = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.1], [5.0, 5.0, 0.0, 6.0, 0.2]])
    (mask,) = masks_of({"w": weight}, pattern="2:4", sparsity=0.5, by_layer=False).values()
    assert mask.int().tolist() == [[0, 1, 1, 0, 1], [0, 1, 0, 1, 1]]


def test_unstructured_removes_the_smallest_weights_of_all_layers_or_of_each():
    weights = {"a": torch.tensor([[1.0, -2.0]]), "b": torch.tensor([[30.0, 40.0]])}
    over_all = masks_of(weights, pattern="unstructured", sparsity=0.5, by_layer=False)
    in_each = masks_of(weights, pattern="unstructured", sparsity=0.5, by_layer=True)
    assert [over_all[name].int().tolist() for name in "ab"] == [[[0, 0]], [[1, 1]]]
    assert [in_each[name].int().tolist() for name in "ab"] == [[[0, 1]], [[0, 1]]]


def test_removed_weights_stay_zero_while_others_are_trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    weights = prunable_weights(model, whole={model[2]})
    assert list(weights) == ["0.weight"]
    before = model[0].weight.detach().clone()
    masks = masks_of(weights, pattern="unstructured", sparsity=0.75, by_layer=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    with masked(weights, masks):
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(16, 8)).square().sum().backward()
            optimizer.step()
    assert share_of_zeros(weights) == 0.75
    assert not model[0].weight[~masks["0.weight"]].any()
    assert (model[0].weight != before)[masks["0.weight"]].all()


def test_sizes_of_sparse_weights():
    model = nn.Linear(16, 16, bias=False)
    dense = deflated_bytes(model)
    with torch.no_grad():
        model.weight[:, 4:] = 0
    assert sparse_bytes(model) == 64 * 4 + 256 // 8
    assert deflated_bytes(model) < 0.5 * dense
