"""The counts match torch's counter, which counts the same operators at run time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from export.capture.graph import capture
from export.verify.coverage.macs import macs
from tests.export.networks import Function

CLIP = (2, 4, 6, 8, 10)
PICTURE = (2, 4, 8, 10)
SEQUENCE = (2, 7, 6)


class Recurrent(nn.Module):
    """The output sequence of a recurrent layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


NETWORKS = {
    "dense": (nn.Conv3d(4, 6, 3, padding=1), CLIP),
    "strided and grouped": (nn.Conv3d(4, 6, (3, 1, 3), stride=2, groups=2), CLIP),
    "depthwise": (nn.Conv3d(4, 8, 3, groups=4, padding="same"), CLIP),
    "transposed": (nn.ConvTranspose3d(4, 6, 2, stride=2, bias=False), CLIP),
    "pictures": (nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 2, 3, stride=2)), PICTURE),
    "sequences": (nn.Sequential(nn.Conv1d(7, 3, 2), nn.ConvTranspose1d(3, 5, 2)), SEQUENCE),
    "linear on the last axis": (nn.Linear(6, 5), SEQUENCE),
    "products": (Function(lambda x: (x @ x.transpose(1, 2)) @ x), SEQUENCE),
    "fused attention": (Function(lambda x: F.scaled_dot_product_attention(x[:, :5], x, x[..., :4])), SEQUENCE),
    "lstm": (Recurrent(nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)), SEQUENCE),
    "lstm that projects": (Recurrent(nn.LSTM(6, 5, proj_size=3)), SEQUENCE),
    "gru": (Recurrent(nn.GRU(6, 5, bias=False)), SEQUENCE),
    "rnn": (Recurrent(nn.RNN(6, 5)), SEQUENCE),
}  # fmt: skip


def counted_by_torch(model: nn.Module, shape: tuple[int, ...]) -> int:
    # The meta device has no fused kernels, whose operators the counter cannot see.
    model = model.to("meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("decomposed", [False, True], ids=["as captured", "in core operators"])
def test_the_counts_are_those_of_torch(name, decomposed):
    model, shape = NETWORKS[name]
    program = capture(model.to_empty(device="cpu"), (torch.randn(shape),))
    if decomposed:
        program = program.run_decompositions()
    expected = counted_by_torch(model, shape)
    assert expected > 0
    assert sum(macs(node) for node in program.graph.nodes) == expected


def test_a_product_with_a_vector_counts_which_torch_leaves_out():
    program = capture(Function(lambda x: x[0] @ x[0, 0]), (torch.randn(SEQUENCE),))
    assert sum(macs(node) for node in program.graph.nodes) == 7 * 6


def test_what_multiplies_nothing_counts_nothing():
    model = Function(lambda x: F.softmax(F.gelu(x).mean(2), 1).flatten(1))
    program = capture(model, (torch.randn(CLIP),))
    assert not any(macs(node) for node in program.graph.nodes)
