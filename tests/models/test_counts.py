import torch
from torch import nn

from models import STUDENTS
from models.counts import count_macs, count_parameters
from tests.specs import small_spec

FRAMES, SIZE = 4, 32
"""The clip of `small_spec`."""


def test_parameters_that_are_shared_count_once():
    layer = nn.Linear(3, 5)
    assert count_parameters(nn.Sequential(layer, nn.ReLU(), layer)) == 3 * 5 + 5


def test_macs_of_a_convolution_are_taps_times_positions():
    convolution = nn.Conv3d(3, 8, 3, padding=1, bias=False)
    assert count_macs(convolution, small_spec("clip")) == 3 * 8 * 27 * FRAMES * SIZE * SIZE


def test_macs_of_an_lstm_are_seen_through_its_fused_kernel():
    class FrameLstm(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 16, batch_first=True)

        def forward(self, clip):
            return self.lstm(clip.mean((3, 4)).transpose(1, 2))[0]

    assert count_macs(FrameLstm(), small_spec("clip")) == FRAMES * 4 * 16 * (3 + 16)


def test_counting_leaves_the_network_as_it_was():
    spec = small_spec("clip")
    row = STUDENTS["mobilenet3d_tiny"]
    model = row.build(spec, row.options()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    count_macs(model, spec)
    assert model.training
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_a_network_built_without_memory_counts_the_same():
    spec = small_spec("clip", "audio")
    row = STUDENTS["mobilenet3d_tiny"]
    real = row.build(spec, row.options())
    with torch.device("meta"):
        shapes = row.build(spec, row.options())
    assert count_parameters(shapes) == count_parameters(real)
    assert count_macs(shapes, spec) == count_macs(real, spec)


def test_a_network_that_needs_values_is_run_where_it_is():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(3, 8)
            self.layer = nn.Linear(8, 5)
            self.scale = torch.ones(8)  # no buffer: it stays where it is

        def forward(self, text):
            assert text.min().item() >= 0 and text.max().item() < 100, "tokens, not whatever lay in memory"
            return self.layer((self.embedding(text % 3) * self.scale).mean(1))

    assert count_macs(Words().eval(), small_spec("text")) == 8 * 5
