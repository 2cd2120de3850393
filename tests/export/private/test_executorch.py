"""Private APIs of ExecuTorch: passes that would retrace an unchanged graph, and the partitioner's refusals."""

from __future__ import annotations

import logging
from contextlib import nullcontext

import pytest
import torch
from torch import nn

pytest.importorskip("executorch.exir")

from executorch.exir.dialects._ops import ops
from executorch.exir.pass_base import ExportPass

from export.emit.executorch import writer as to_executorch
from export.manifest import file_spec
from export.private import executorch as insides
from export.private.executorch import (
    PARTITIONER_LOG,
    patterns_where_needed,
    refusals,
    unchanged_graphs_kept,
)
from tests.export.small_nets import clip_spec, int8_graph, program_of
from tests.insides import check


def test_this_executorch_is_the_one_that_it_was_written_for():
    check(insides)


def test_the_partitioners_reasons_are_collected():
    """Logged in the format of the partitioner here, and by the partitioner itself in
    `tests/export/verify/coverage`."""
    from executorch.exir.backend.utils import WhyNoPartition

    say = WhyNoPartition(logger=logging.getLogger(f"{PARTITIONER_LOG}.config.node_configs"))
    graph = torch.fx.symbolic_trace(nn.ReLU()).graph
    with refusals() as found:
        say(next(iter(graph.nodes)), "for a reason")
        logging.getLogger(PARTITIONER_LOG).debug("something else")
    assert found == {"input_1": "for a reason"}


def test_collecting_the_reasons_restores_the_logger():
    logger = logging.getLogger(PARTITIONER_LOG)
    before = logger.level, logger.propagate, list(logger.handlers)
    with refusals():
        assert logger.level == logging.DEBUG
    assert (logger.level, logger.propagate, list(logger.handlers)) == before


class Gated(nn.Module):
    def forward(self, clip):
        return (clip * torch.sigmoid(clip)).mean(dim=(2, 3))


@pytest.fixture
def graph():
    """A graph in ExecuTorch's edge operators."""
    from executorch.exir import to_edge

    program = torch.export.export(Gated(), (torch.rand(1, 3, 4, 4),))
    return to_edge(program).exported_program().graph_module


class Looks(ExportPass):
    """Changes nothing, and traces."""


class Replaces(ExportPass):
    """Replaces an operator while it traces."""

    def call_operator(self, op, args, kwargs, meta):
        if op is ops.edge.aten.sigmoid.default:
            return super().call_operator(ops.edge.aten.tanh.default, args, kwargs, meta)
        return super().call_operator(op, args, kwargs, meta)


class Swaps(ExportPass):
    """Changes the graph, and traces."""

    def call(self, graph_module):
        for node in graph_module.graph.nodes:
            if node.target is ops.edge.aten.mul.Tensor:
                node.target = ops.edge.aten.add.Tensor
        return super().call(graph_module)


def targets(graph_module):
    return [node.target for node in graph_module.graph.nodes if node.op == "call_function"]


def test_only_a_graph_that_nothing_changed_is_kept(graph):
    before = Looks()(graph).graph_module
    with unchanged_graphs_kept() as kept:
        first = Looks()(graph).graph_module
        second = Looks()(first).graph_module
        assert first is not graph and second is first and kept == ["Looks"]
        third = Replaces()(second).graph_module
        assert ops.edge.aten.tanh.default in targets(third)
        fourth = Swaps()(third).graph_module
        assert ops.edge.aten.add.Tensor in targets(fourth)
        assert kept == ["Looks"]
    assert targets(before) == targets(first)
    assert Looks()(fourth).graph_module is not fourth, "the passes are restored"


def test_a_value_that_was_replaced_is_traced_anew(graph):
    with unchanged_graphs_kept() as kept:
        traced = Looks()(graph).graph_module
        node = next(iter(traced.graph.nodes))
        with node.meta["val"].fake_mode:
            node.meta["val"] = torch.empty(2, 3, 4, 4)
        again = Looks()(traced).graph_module
    assert not kept
    assert next(reversed(again.graph.nodes)).meta["val"][0].shape == (2, 3)


class Resized(nn.Module):
    def forward(self, clip):
        bigger = nn.functional.interpolate(clip, scale_factor=2, mode="bilinear", align_corners=False)
        return torch.softmax(bigger.flatten(2), -1)


@pytest.mark.slow
def test_every_pattern_has_an_operator_that_is_looked_for_first():
    from executorch.backends.xnnpack.partition.graphs import bilinear_2d, sdpa

    for found, names in ((bilinear_2d, insides._BILINEAR), (sdpa, insides._ATTENTION)):
        for pattern in found.get_graphs():
            assert any(getattr(node.target, "__name__", "") in names for node in pattern.graph.nodes)


def test_patterns_are_looked_for_in_graphs_that_can_have_them(graph):
    from executorch.backends.xnnpack._passes.convert_to_sdpa import ConvertToSDPAPass
    from executorch.backends.xnnpack._passes.convert_to_upsample_bilinear2d import ConvertToUpsampleBilinear2d
    from executorch.exir import to_edge

    own = [kind.call for kind in (ConvertToSDPAPass, ConvertToUpsampleBilinear2d)]
    program = to_edge(torch.export.export(Resized(), (torch.rand(1, 3, 4, 4),))).exported_program()
    with patterns_where_needed() as kept:
        for kind in (ConvertToSDPAPass, ConvertToUpsampleBilinear2d):
            result = kind(program)(graph)
            assert result.modified and targets(result.graph_module) == targets(graph)
        assert kept == ["ConvertToSDPAPass", "ConvertToUpsampleBilinear2d"]
        ConvertToSDPAPass(program)(program.graph_module)
        assert len(kept) == 2
    assert [kind.call for kind in (ConvertToSDPAPass, ConvertToUpsampleBilinear2d)] == own


@pytest.mark.slow
def test_a_file_is_the_same_byte_for_byte(tmp_path, monkeypatch):
    spec = clip_spec()
    program = program_of(int8_graph(spec), spec)
    requested = file_spec(spec, clip_layout="NCTHW", token_dtype="int64", provenance={})
    to_executorch.write(program, tmp_path / "fewer.pte", spec=requested, scheme="w8a8")
    for fewer in ("unchanged_graphs_kept", "decomposed_once", "patterns_where_needed"):
        monkeypatch.setattr(to_executorch, fewer, nullcontext)
    to_executorch.write(program, tmp_path / "all.pte", spec=requested, scheme="w8a8")
    assert (tmp_path / "all.pte").read_bytes() == (tmp_path / "fewer.pte").read_bytes()
