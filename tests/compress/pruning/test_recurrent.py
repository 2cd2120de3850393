"""Units of stacked, bidirectional and projected recurrent layers."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.artifact import load_resized, size_of
from compress.pruning import PRUNING_CRITERIA
from compress.pruning.config import PruneConfig
from compress.pruning.cut import cut_channels
from compress.pruning.dependencies import find_groups, whole_recurrent_layers
from compress.pruning.groups import without
from compress.pruning.recurrent import silence
from export.capture.graph import capture
from export.lower import lower
from models.spec import as_tuple
from models.teachers.audio import AUDIO_ENCODERS
from models.teachers.encoder import choices
from models.teachers.modular import ModularOptions, ModularTeacher
from models.teachers.video import VIDEO_ENCODERS
from tests.specs import small_spec


class Spec:
    """Steps: `N 5 6`."""

    def example(self, batch=1, seed=0):
        return (torch.randn(batch, 5, 6, generator=torch.Generator().manual_seed(seed)),)


def last_step(out, state):
    return out[:, -1]


def final_states(out, state):
    hidden = state[0] if isinstance(state, tuple) else state
    return torch.cat([hidden[-2], hidden[-1]], 1)


def normalised_steps(out):
    return nn.functional.layer_norm(out, out.shape[-1:])


class Recurrent(nn.Module):
    def __init__(self, kind, read=last_step, **options):
        super().__init__()
        torch.manual_seed(0)
        self.layer = kind(6, 4, batch_first=True, **options)
        self.read = read
        features = read(*self.layer(*Spec().example())).shape[1]
        self.hidden, self.last = nn.Linear(features, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(self.hidden(self.read(*self.layer(x))).relu())


def group_of(model, name="layer"):
    return next((group for group in find_groups(model, Spec()) if group.name == name), None)


def without_unit(model, group, channels):
    """The network without one unit, of the given channels."""
    return without(model, {replace(group, units=(tuple(channels),)): [0]})


def loads_again(pruned, original):
    again = copy.deepcopy(original)
    load_resized(again, pruned.state_dict())
    torch.testing.assert_close(again(*Spec().example(2)), pruned(*Spec().example(2)))
    assert repr(again) == repr(pruned), "the sizes of all layers"


LAYERS = {
    "stacked LSTM": (nn.LSTM, last_step, {"num_layers": 3}),
    "stacked GRU": (nn.GRU, last_step, {"num_layers": 2}),
    "bidirectional GRU": (nn.GRU, last_step, {"bidirectional": True}),
    "bidirectional RNN without biases": (nn.RNN, last_step, {"bidirectional": True, "bias": False}),
    "stacked bidirectional LSTM": (nn.LSTM, last_step, {"num_layers": 2, "bidirectional": True}),
    "final states of both directions": (nn.LSTM, final_states, {"num_layers": 2, "bidirectional": True}),
    "projected LSTM": (nn.LSTM, last_step, {"proj_size": 3, "num_layers": 2, "bidirectional": True}),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", LAYERS)
def test_silent_units_of_every_layer_and_direction_can_be_removed_without_effect(name):
    kind, read, options = LAYERS[name]
    model = Recurrent(kind, read, **options).eval()
    group = group_of(model)
    size, parts = len(group.units), group.parts
    assert parts == options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    channels = [size * part + (2 * part + 1) % size for part in range(parts)]
    silence(model.layer, channels)
    pruned = without_unit(model, group, channels)
    torch.testing.assert_close(pruned(*Spec().example(2)), model(*Spec().example(2)))
    assert (pruned.layer.proj_size or pruned.layer.hidden_size) == size - 1
    loads_again(pruned, model)


def test_a_unit_takes_its_columns_in_both_directions_of_the_next_layer_with_it():
    model = Recurrent(nn.GRU, num_layers=2, bidirectional=True).eval()
    pruned = without_unit(model, group_of(model), [0, 4 + 1, 8 + 2, 12 + 3])
    kept_columns = [1, 2, 3, 4, 6, 7]  # of the 8 outputs of the first layer
    kept_rows = {"": [0, 1, 3, 4, 5, 7, 8, 9, 11], "_reverse": [0, 1, 2, 4, 5, 6, 8, 9, 10]}  # in three gates
    for way, rows in kept_rows.items():
        expected = getattr(model.layer, f"weight_ih_l1{way}")[rows][:, kept_columns]
        torch.testing.assert_close(getattr(pruned.layer, f"weight_ih_l1{way}"), expected)
    torch.testing.assert_close(pruned.hidden.weight, model.hidden.weight[:, [0, 1, 3, 4, 5, 6]])


def test_cells_of_a_projected_lstm_are_units_of_their_own():
    model = Recurrent(nn.LSTM, proj_size=2, num_layers=2).eval()
    group = group_of(model, "layer cells")
    assert len(group.units) == 4 and group.parts == 2 and group.least == 3
    with torch.no_grad():
        model.layer.weight_hr_l0[:, 1] = 0
        model.layer.weight_hr_l1[:, 2] = 0
    pruned = without_unit(model, group, [1, 4 + 2])
    assert pruned.layer.hidden_size == 3 and pruned.layer.proj_size == 2
    torch.testing.assert_close(pruned(*Spec().example(2)), model(*Spec().example(2)))
    loads_again(pruned, model)


def test_the_least_important_unit_of_each_layer_and_direction_goes_first():
    model = Recurrent(nn.GRU, num_layers=2, bidirectional=True).eval()
    with torch.no_grad():
        for number, name in enumerate(("l0", "l0_reverse", "l1", "l1_reverse")):
            for gate in range(3):
                getattr(model.layer, f"weight_ih_{name}")[4 * gate + number] *= 0.01
                getattr(model.layer, f"weight_hh_{name}")[4 * gate + number] *= 0.01
    criterion = PRUNING_CRITERIA["magnitude"](model, ())
    group = group_of(model).paired(criterion)
    importance = group.importance(criterion)
    assert group.units[0] == (0, 4 + 1, 8 + 2, 12 + 3)
    assert importance.argsort().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "name", [name for name in PRUNING_CRITERIA if name not in ("taylor", "hessian", "bn_scale")]
)
def test_every_criterion_ranks_the_units_of_both_directions(name):
    model = Recurrent(nn.LSTM, bidirectional=True).eval()
    criterion = PRUNING_CRITERIA[name](model, ())
    group = group_of(model).paired(criterion)
    assert sorted(channel for unit in group.units for channel in unit) == list(range(8))
    values = group.importance(criterion)
    assert len(values) == 4 and values.isfinite().all()


def all_final_states(out, state):
    return state.transpose(0, 1).flatten(1)


def cells(out, state):
    return state[1][-1]


def sum_of_directions(out, state):
    forwards, backwards = out[:, -1].chunk(2, 1)
    return forwards + backwards


def pieces_of_four(out, state):
    forwards, backwards = out.split(4, dim=2)
    return torch.cat([forwards[:, -1], backwards[:, 0]], 1)


def parts_of_normalised(out, state):
    return torch.cat([one.mean(1) for one in normalised_steps(out).chunk(2, 2)], 1)


def gated(out, state):
    values, gates = out.chunk(2, dim=2)
    return (values * gates.sigmoid()).mean(1)


UNFOLLOWED = {
    "states of inner layers": (nn.GRU, all_final_states, {"num_layers": 2}),
    "cells before their projection": (nn.LSTM, cells, {"proj_size": 3}),
    "the sum of both directions": (nn.GRU, sum_of_directions, {"bidirectional": True}),
    "a split into pieces of a fixed size": (nn.GRU, pieces_of_four, {"bidirectional": True}),
    "gates of one direction": (nn.GRU, gated, {}),
    "parts of normalised outputs": (nn.GRU, parts_of_normalised, {"bidirectional": True}),
}


@pytest.mark.parametrize("name", UNFOLLOWED)
def test_a_layer_whose_units_cannot_be_followed_stays_whole_and_the_cut_says_so(name):
    kind, read, options = UNFOLLOWED[name]
    model = Recurrent(kind, read, **options).eval()
    assert [group.name for group in find_groups(model, Spec())] == ["hidden"]
    assert whole_recurrent_layers(model, find_groups(model, Spec())) == ["layer"]


def ends(forwards, backwards):
    return torch.cat([forwards[:, -1], backwards[:, 0]], 1)


def chunked(out, state):
    forwards, backwards = out.chunk(2, dim=2)
    return torch.cat([ends(forwards, backwards), out.mean(1)], 1)


TAKEN_APART = {
    "chunk": chunked,
    "chunk of rearranged outputs": lambda out, _: torch.cat(
        [one.mean(2) for one in out.relu().transpose(1, 2).chunk(2, dim=1)], 1
    ),
    "split": lambda out, _: ends(*out.split(out.shape[2] // 2, dim=2)),
    "narrow": lambda out, _: ends(
        *(out.narrow(2, way * (out.shape[2] // 2), out.shape[2] // 2) for way in range(2))
    ),
    "slices": lambda out, _: ends(out[..., : out.shape[2] // 2], out[..., out.shape[2] // 2 :]),
    "unbind": lambda out, _: ends(*out.unflatten(2, (2, -1)).unbind(2)),
    "unbind of states": lambda _, state: torch.cat(state.unbind(0), 1),
    "states with other features": lambda out, state: torch.cat([out.mean(1), state[1], state[0]], 1),
    "one of two directions": lambda _, state: state[-1],
}


@pytest.mark.parametrize("name", TAKEN_APART)
def test_silent_units_of_directions_that_are_taken_apart_can_be_removed_without_effect(name):
    model = Recurrent(nn.GRU, TAKEN_APART[name], bidirectional=True).eval()
    group = group_of(model)
    assert group.units == ((0, 4), (1, 5), (2, 6), (3, 7)) and group.parts == 2
    silence(model.layer, [1, 4 + 2])
    pruned = without_unit(model, group, [1, 4 + 2])
    assert pruned.layer.hidden_size == 3
    torch.testing.assert_close(pruned(*Spec().example(2)), model(*Spec().example(2)))


def test_columns_of_a_chunked_output_go_with_the_unit_of_their_direction():
    model = Recurrent(nn.GRU, chunked, bidirectional=True).eval()
    pruned = without_unit(model, group_of(model), [1, 4 + 2])
    kept = [0, 2, 3, 4, 5, 7]  # of forwards 0..3 and backwards 4..7
    expected = model.hidden.weight[:, kept + [8 + column for column in kept]]
    torch.testing.assert_close(pruned.hidden.weight, expected)
    for way, rows in {"": [0, 2, 3], "_reverse": [0, 1, 3]}.items():
        of_gates = [4 * gate + row for gate in range(3) for row in rows]
        kept_weights = getattr(model.layer, f"weight_ih_l0{way}")[of_gates]
        torch.testing.assert_close(getattr(pruned.layer, f"weight_ih_l0{way}"), kept_weights)


def test_modules_of_the_search_do_not_stay_in_the_network():
    model = Recurrent(nn.GRU, chunked, bidirectional=True).eval()
    before = [name for name, _ in model.named_modules()]
    find_groups(model, Spec())
    assert [name for name, _ in model.named_modules()] == before


def test_a_teacher_with_a_gru_over_sound_loses_units_of_both_directions():
    spec = small_spec("clip", "audio")
    parts = {
        "video": choices(VIDEO_ENCODERS)["r2plus1d_tiny"](name="r2plus1d_tiny"),
        "audio": choices(AUDIO_ENCODERS)["gru"](name="gru"),
    }
    torch.manual_seed(0)
    teacher = ModularTeacher(spec, ModularOptions(**parts)).eval()
    cut = cut_channels(teacher, spec, config=PruneConfig(parameters=0.7, round_to=1))
    layer = next(one for one in cut.model.modules() if isinstance(one, nn.GRU))
    assert layer.hidden_size < 128
    assert not any("units are not removed" in note for note in cut.notes)
    assert all(column.isfinite().all() for column in as_tuple(cut.model(*spec.example())))


class Sentences(nn.Module):
    """Clip -> one step per frame -> a stacked bidirectional LSTM, then a GRU."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(3, 8)
        self.lstm = nn.LSTM(8, 8, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(16, 8, 2, batch_first=True)
        self.last = nn.Linear(8, 3)

    def forward(self, clip):
        steps = self.embed(clip.mean((3, 4)).transpose(1, 2))
        return self.last(self.gru(self.lstm(steps)[0])[0].mean(1))


@pytest.mark.slow
def test_recurrent_layers_in_a_row_are_cut_to_the_target_and_lowered_for_export():
    spec, original = small_spec("clip"), Sentences().eval()
    cut = cut_channels(original, spec, config=PruneConfig(parameters=0.5, round_to=2))
    assert cut.model.lstm.hidden_size < 8 and cut.model.gru.hidden_size < 8 and cut.notes == ()
    assert 0.48 <= size_of(cut.model, spec).parameters / size_of(original, spec).parameters <= 0.5
    lowered = lower(capture(cut.model, spec.example()))
    torch.testing.assert_close(lowered(*spec.example()), cut.model(*spec.example()), atol=1e-5, rtol=1e-4)
