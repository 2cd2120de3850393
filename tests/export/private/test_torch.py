"""Private APIs of torch: they exist and work as required."""

from __future__ import annotations

import torch
from torch import nn

from export.private import torch as insides
from tests.insides import check

aten = torch.ops.aten


def test_this_torch_is_the_one_that_it_was_written_for():
    check(insides)


def test_schemas_of_operators_alone():
    program = torch.export.export(nn.Linear(2, 3), (torch.zeros(1, 2),))
    found = {node.op: insides.schema_of(node.target) for node in program.graph.nodes}
    assert [argument.name for argument in found["call_function"].arguments] == ["input", "weight", "bias"]
    assert found["placeholder"] is None and found["output"] is None


def test_core_operators_are_decomposed_as_well():
    """`torch.export.default_decompositions` does not; otherwise the private name would not be needed."""
    core = [aten.expm1.default, aten.var.correction, aten.native_group_norm.default]
    assert set(insides.decompositions(core)) == set(core)
    assert not any(operator in torch.export.default_decompositions() for operator in core)


class Half(nn.Module):
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = x @ x
        with torch.autocast("cpu", enabled=False):
            return x @ x


def test_autocast_is_disabled_and_reported_where_it_is_on():
    noted = []
    with insides.no_autocast(lambda: noted.append(1)):
        assert Half()(torch.ones(2, 2)).dtype is torch.float32
    assert noted == [1]
    assert Half()(torch.ones(2, 2)).dtype is torch.bfloat16, "torch is restored"


class Outside(nn.Module):
    """Computes in a function that is not called `forward`."""

    def forward(self, x):
        return helped(x)


def helped(x):
    return x + 1


def test_user_lines_are_kept_and_torch_is_restored():
    from torch.fx.proxy import TracerBase

    own = TracerBase._filter_traceback_frames
    with insides.user_lines_kept(file=__file__, function="captured"):
        program = captured(Outside())
    assert TracerBase._filter_traceback_frames is own
    node = next(node for node in program.graph.nodes if node.op == "call_function")
    # This file is the one that captures: none of its lines counts as the user's.
    assert "stack_trace" not in node.meta
    with insides.user_lines_kept(file="elsewhere.py", function="captured"):
        program = captured(Outside())
    node = next(node for node in program.graph.nodes if node.op == "call_function")
    assert "return x + 1" in node.meta["stack_trace"]


def captured(network):
    return torch.export.export(network, (torch.zeros(2),))
