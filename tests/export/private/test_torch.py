"""Private APIs of torch: they exist and work as required."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from export.private import torch as insides
from tests.export.small_nets import clip_spec, int8_graph, program_of
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


class Gated(nn.Module):
    def forward(self, x):
        y = nn.functional.conv2d(x, torch.ones(3, 3, 1, 1))
        low, high = torch.split(y * torch.sigmoid(x), 2, dim=2)
        return torch.cat([low, high], 1).mean((2, 3)), y.flatten(1)


def contents(program):
    """The graph, node by node, and its inputs and outputs."""
    nodes = [
        (node.name, node.target, repr(node.args), repr(node.kwargs), str(node.meta.get("val")))
        for node in program.graph.nodes
    ]
    return nodes, program.graph_signature, program.dialect


@pytest.fixture(params=["float", "int8"])
def program(request):
    """A program without views, which are written in another way in every decomposed program."""
    if request.param == "float":
        return torch.export.export(Gated(), (torch.rand(1, 3, 4, 4),)).run_decompositions({})
    spec = clip_spec()
    return program_of(int8_graph(spec), spec).run_decompositions({})


def test_a_program_that_needs_no_decomposition_is_copied(program, monkeypatch):
    expected = contents(program.run_decompositions({}))
    monkeypatch.setattr(insides, "_run_decompositions", None)
    copied = insides.decomposed(program, {})
    assert contents(copied) == expected
    next(
        iter(copied.graph.find_nodes(op="call_function", target=aten.mean.dim))
    ).target = aten.sum.dim_IntList
    assert contents(program) == expected, "the program itself is not changed"


def test_a_copy_keeps_an_input_called_input():
    """The name in `nn.Sequential`, which `torch.fx` changes as it does every name of Python's."""
    program = torch.export.export(nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval(), (torch.rand(1, 3),))
    assert [node.name for node in program.graph.nodes if node.op == "placeholder"][-1] == "input"
    copied = insides.decomposed(program, {})
    assert [node.name for node in copied.graph.nodes] == [node.name for node in program.graph.nodes]
    copied.validate()


def test_a_program_with_operators_of_the_table_is_decomposed(program):
    table = {aten.mean.dim: lambda x, dim, keepdim=False: aten.sum.dim_IntList(x, dim, keepdim) / 3}
    expected = contents(program.run_decompositions(table))
    assert contents(insides.decomposed(program, table)) == expected != contents(program)


class Changing(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(2))

    def forward(self, x):
        self.count.add_(1)
        return x + self.count


class Views(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x.reshape(2) + x, training=False)


class Unused(nn.Module):
    def forward(self, x):
        torch.sigmoid(x)
        return x + 1


class Unchanged(nn.Module):
    def forward(self, x):
        return x, torch.sigmoid(x)


@pytest.mark.parametrize("network", [Changing, Views, Unused, Unchanged])
def test_what_a_trace_changes_is_traced(network):
    program = torch.export.export(network(), (torch.zeros(2),))
    assert contents(insides.decomposed(program, {})) == contents(program.run_decompositions({}))


@pytest.mark.parametrize(
    ("target", "arguments", "named"),
    [(aten.mean.dim, ([2, 3], False), {}), (aten.mean.dim, (2,), {}), (aten.cat.default, (), {"dim": 1})],
    ids=["a default", "a number for a list", "by name"],
)
def test_arguments_that_a_trace_writes_otherwise_are_traced(target, arguments, named):
    program = torch.export.export(Gated(), (torch.rand(1, 3, 4, 4),)).run_decompositions({})
    (node,) = program.graph.find_nodes(op="call_function", target=target)
    node.args, node.kwargs = (node.args[0], *arguments), named
    expected = contents(program.run_decompositions({}))
    assert contents(insides.decomposed(program, {})) == expected != contents(program)


def test_libraries_decompose_where_needed_and_torch_is_restored(program, monkeypatch):
    calls = []
    own = insides._run_decompositions
    monkeypatch.setattr(
        insides,
        "_run_decompositions",
        lambda *given, **settings: (calls.append(given), own(*given, **settings))[1],
    )
    with insides.needless_decompositions_skipped():
        same = program.run_decompositions({})
        assert not calls
        program.run_decompositions()
        assert len(calls) == 1
    assert contents(same) == contents(program)
    assert torch.export.ExportedProgram.run_decompositions is insides._run_decompositions


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
