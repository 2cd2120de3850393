"""Private APIs of coremltools: its import works without the hidden libraries."""

from __future__ import annotations

import subprocess
import sys

import torch
import torchao.quantization.pt2e  # noqa: F401  registers torch.ops.quantized_decomposed
from torch import fx

from export.emit.coreml.saved import import_quietly
from export.private import coremltools as insides
from tests.insides import check

import_quietly()

aten, int8 = torch.ops.aten, torch.ops.quantized_decomposed


def test_this_coremltools_is_the_one_that_it_was_written_for():
    check(insides)


def test_the_import_leaves_out_what_it_does_not_need_and_hides_nothing_afterwards():
    script = (
        "import sys; from export.emit.coreml.saved import import_quietly; import_quietly()\n"
        "from export.private.coremltools import OTHERS\n"
        "print([name for name in OTHERS if name in sys.modules], 'coremltools' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[] True"


def test_what_is_loaded_already_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    with insides.without_others():
        assert sys.modules["tensorflow"] is sys
    assert sys.modules["tensorflow"] is sys


def test_names_count_from_zero_again():
    from coremltools.converters.mil import Builder

    Builder.name_count["cast"] = 7
    insides.reset_names()
    assert not Builder.name_count


def test_which_operators_it_converts():
    converted = [aten.relu.default, aten.conv2d.default, int8.dequantize_per_channel.default]
    assert [insides.is_converted(one) for one in converted] == [True] * 3
    assert not insides.is_converted(aten.lgamma.default)


def test_the_public_way_knows_no_operator_of_int8_graphs():
    """When it supports them, remove `is_converted`."""
    from coremltools.converters.mil.frontend.torch import is_torch_fx_node_supported

    graph = fx.Graph()
    nodes = [
        graph.call_function(one)
        for one in (aten.relu.default, aten.lgamma.default, int8.dequantize_per_channel.default)
    ]
    assert [is_torch_fx_node_supported(node) for node in nodes] == [True, False, False]
