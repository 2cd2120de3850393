"""Captures code that reads `x.data`, which torch alone would treat as a constant of the example."""

from __future__ import annotations

import torch
from torch import nn

from export.capture.graph import capture
from export.lower.source import place

aten = torch.ops.aten


class Detached(nn.Module):
    """Reads the data of a value, of a parameter, and of a value in another function."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.factors = nn.Linear(3, 3), nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

    def forward(self, x):
        y = self.layer(x)
        return one_more(y.data * self.factors.data)


def one_more(x):
    return x.data + 1


def test_data_follows_the_input_and_the_weights():
    network = Detached()
    program = capture(network, (torch.rand(2, 3),))
    x = torch.rand(2, 3)
    assert torch.equal(program.module(check_guards=False)(x), network(x))
    assert not program.constants


def test_its_nodes_name_the_users_line():
    program = capture(Detached(), (torch.rand(2, 3),))
    places = [place(node) for node in program.graph.nodes if node.target is aten.detach.default]
    assert [where.partition(" ")[2] for where in places] == [
        *("`return one_more(y.data * self.factors.data)`",) * 2,
        "`return x.data + 1`",
    ]


def test_a_value_that_is_real_keeps_its_data():
    network = Detached()
    capture(network, (torch.rand(2, 3),))
    assert network.factors.data.data_ptr() == network.factors.data_ptr()
    assert type(torch.Tensor.data).__name__ == "getset_descriptor", "torch is restored"


class Written(nn.Module):
    """Writes to a value's data."""

    def forward(self, x):
        y = x * 2
        y.data.add_(1)
        return y


def test_what_is_written_to_data_is_in_the_value():
    program = capture(Written(), (torch.rand(2),))
    x = torch.rand(2)
    assert torch.equal(program.module(check_guards=False)(x), x * 2 + 1)
