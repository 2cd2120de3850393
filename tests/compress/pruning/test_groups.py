"""Groups of channels: what is removed together, in plain, grouped, recurrent and attention layers."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from compress.artifact import load_resized
from compress.pruning import PRUNING_CRITERIA
from compress.pruning.dependencies import find_groups
from compress.pruning.groups import without
from models.video_transformer import Attention


class Spec:
    """Tokens: `N 5 8`, or word indices `N 5`."""

    def __init__(self, *, words=False):
        self.words = words

    def example(self, batch=1, seed=0):
        generator = torch.Generator().manual_seed(seed)
        if self.words:
            return (torch.randint(7, (batch, 5), generator=generator),)
        return (torch.randn(batch, 5, 8, generator=generator),)


class Recurrent(nn.Module):
    """A recurrent layer between two linear ones."""

    def __init__(self, kind, **options):
        super().__init__()
        torch.manual_seed(0)
        self.before = nn.Linear(8, 6)
        self.layer = kind(6, 4, batch_first=True, **options)
        self.after = nn.Linear(4 * (2 if options.get("bidirectional") else 1), 3)

    def forward(self, x):
        return self.after(self.layer(self.before(x))[0][:, -1])


class Attending(nn.Module):
    """Tokens through attention with a residual, without normalisation."""

    def __init__(self, attention):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.attention, self.last = nn.Linear(8, 8), attention, nn.Linear(8, 3)

    def forward(self, x):
        x = self.embed(x)
        if isinstance(self.attention, nn.MultiheadAttention):
            return self.last((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))
        return self.last((x + self.attention(x)).mean(1))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.last = nn.Embedding(7, 6), nn.Linear(6, 3)

    def forward(self, words):
        return self.last(self.embed(words).mean(1))


def group_of(model, name, spec=None):
    (found,) = [group for group in find_groups(model, spec or Spec()) if group.name == name]
    return found


def loads_again(pruned, original, spec=None):
    again = copy.deepcopy(original)
    load_resized(again, pruned.state_dict())
    torch.testing.assert_close(again(*(spec or Spec()).example(2)), pruned(*(spec or Spec()).example(2)))


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_a_recurrent_unit_whose_consumers_ignore_it_can_be_removed_without_effect(kind, gates):
    model = Recurrent(kind).eval()
    group = group_of(model, "layer")
    with torch.no_grad():
        model.layer.weight_hh_l0[:, 1] = 0
        model.after.weight[:, 1] = 0
    pruned = without(model, {group: [1]})
    assert pruned.layer.weight_ih_l0.shape == (gates * 3, 6) and pruned.layer.hidden_size == 3
    torch.testing.assert_close(pruned(*Spec().example(2)), model(*Spec().example(2)))
    loads_again(pruned, model)


def test_inputs_of_a_bidirectional_recurrent_layer_are_removed_from_both_directions():
    model = Recurrent(nn.LSTM, bidirectional=True).eval()
    group = group_of(model, "before")
    with torch.no_grad():
        model.before.weight[2] = 0
        model.before.bias[2] = 0
    pruned = without(model, {group: [2]})
    assert pruned.layer.weight_ih_l0_reverse.shape == (16, 5)
    torch.testing.assert_close(pruned(*Spec().example(2)), model(*Spec().example(2)))
    loads_again(pruned, model)


def test_magnitude_of_a_recurrent_unit_counts_its_rows_in_all_gates():
    model = Recurrent(nn.GRU).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        for gate in range(3):
            model.layer.weight_ih_l0[4 * gate + 2] = 1.0
    group = group_of(model, "layer")
    found = group.importance(PRUNING_CRITERIA["magnitude"](model, ()))
    assert found.argmax() == 2 and found[2] == found.sum()


def test_a_head_whose_projection_is_zero_can_be_removed_without_effect():
    model = Attending(Attention(8, heads=4)).eval()
    group = group_of(model, "attention heads")
    assert group.units == ((0, 1), (2, 3), (4, 5), (6, 7))
    with torch.no_grad():
        model.attention.project.weight[:, 2:4] = 0
    pruned = without(model, {group: [1]})
    assert pruned.attention.heads == 3 and pruned.attention.query_key_value.weight.shape == (18, 8)
    torch.testing.assert_close(pruned(*Spec().example(2)), model(*Spec().example(2)))
    loads_again(pruned, model)


def test_features_of_tokens_are_one_group_and_heads_keep_their_size():
    model = Attending(Attention(8, heads=4)).eval()
    group = group_of(model, "embed")
    with torch.no_grad():
        for linear in (model.embed, model.attention.project):
            linear.weight[5] = 0
            linear.bias[5] = 0
    pruned = without(model, {group: [5]})
    assert pruned.attention.heads == 4 and pruned.attention.query_key_value.weight.shape == (24, 7)
    torch.testing.assert_close(pruned(*Spec().example(2)), model(*Spec().example(2)))
    loads_again(pruned, model)


def test_multihead_attention_loses_equally_many_features_of_every_head():
    model = Attending(nn.MultiheadAttention(8, 2, batch_first=True)).eval()
    group = group_of(model, "embed")
    assert group.units == ((0, 4), (1, 5), (2, 6), (3, 7))
    with torch.no_grad():
        for linear in (model.embed, model.attention.out_proj):
            linear.weight[[1, 5]] = 0
            linear.bias[[1, 5]] = 0
        for part in range(3):
            model.attention.in_proj_weight[[8 * part + 1, 8 * part + 5]] = 0
    pruned = without(model, {group: [1]})
    with torch.no_grad():  # the scores are divided by the square root of the features of a head
        pruned.attention.in_proj_weight[:6] *= (3 / 4) ** 0.5
    assert pruned.attention.embed_dim == 6 and pruned.attention.head_dim == 3
    torch.testing.assert_close(pruned(*Spec().example(2)), model(*Spec().example(2)))
    loads_again(pruned, model)


def test_the_width_of_an_embedding_is_pruned():
    model, spec = Words().eval(), Spec(words=True)
    group = group_of(model, "embed", spec)
    with torch.no_grad():
        model.last.weight[:, [0, 3]] = 0
    pruned = without(model, {group: [0, 3]})
    assert pruned.embed.embedding_dim == 4
    torch.testing.assert_close(pruned(*spec.example(2)), model(*spec.example(2)))
    loads_again(pruned, model, spec)


def test_groups_of_a_grouped_convolution_remain_equally_large():
    model = nn.Sequential(
        nn.Conv1d(5, 8, 1),
        nn.Conv1d(8, 8, 3, groups=2, bias=False),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()
    group = group_of(model, "1")
    assert group.units == ((0, 4), (1, 5), (2, 6), (3, 7))
    pruned = without(model, {group: [0]})
    assert pruned[1].weight.shape == (6, 4, 3) and pruned[1].groups == 2
    loads_again(pruned, model)


def test_two_groups_behind_a_concatenation_are_removed_from_the_same_layer():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.last = nn.Linear(8, 4), nn.Linear(8, 6), nn.Linear(10, 3)

        def forward(self, x):
            x = x.mean(1)
            return self.last(torch.cat([self.a(x), self.b(x)], dim=1))

    model = Both().eval()
    with torch.no_grad():
        model.last.weight[:, [0, 9]] = 0
    pruned = without(model, {group_of(model, "a"): [0], group_of(model, "b"): [5]})
    assert pruned.last.in_features == 8
    torch.testing.assert_close(pruned(*Spec().example(2)), model(*Spec().example(2)))
