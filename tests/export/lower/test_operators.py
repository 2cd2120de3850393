"""Every operator and every style of network, lowered, compared with torch."""

from __future__ import annotations

import io
import operator
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from export.capture.graph import capture, named_outputs
from export.lower import lower
from models.spec import as_tuple
from tests.export.networks import Function, trained
from tests.export.operators import OPERATORS
from tests.export.styles import STYLES, inputs_of

pytestmark = pytest.mark.slow

TOLERANCE = 3e-6


def assert_lowers(model: nn.Module, inputs: tuple[Tensor, ...]) -> fx.GraphModule:
    """Lowers `model` and compares the two; only outputs may have more than rank 4."""
    graph = lower(capture(model, inputs))
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target is not operator.getitem:
            values = node.meta["val"] if isinstance(node.meta["val"], tuple | list) else [node.meta["val"]]
            is_output = any(user.op == "output" for user in node.users)
            assert is_output or all(value.dim() <= 4 for value in values), node.format_node()
            assert "3d" not in str(node.target)
    with torch.no_grad():
        expected, given = named_outputs(model(*inputs)), named_outputs(graph(*inputs))
    for want, got in zip(expected.values(), given.values(), strict=True):
        assert want.shape == got.shape and want.dtype == got.dtype and want.isfinite().all()
        assert (want.double() - got.double()).abs().max() <= TOLERANCE * want.double().abs().max()
    return graph


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str) -> None:
    torch.manual_seed(0)
    assert_lowers(trained(OPERATORS[name]()), (torch.rand(1, 3, 8, 12, 10),))


@pytest.mark.parametrize("name", STYLES)
def test_styles(name: str) -> None:
    assert_lowers(trained(STYLES[name][0]()), inputs_of(name))


@pytest.mark.parametrize("name", ["U-Net", "clip, sound and words"])
def test_weights_have_the_same_names_for_several_clips(name: str) -> None:
    model = trained(STYLES[name][0]())
    one, three = (assert_lowers(model, inputs_of(name, batch)) for batch in (1, 3))
    assert one.state_dict().keys() == three.state_dict().keys()


@dataclass
class Outputs:
    """A network's outputs, as in libraries that return objects."""

    logits: Tensor
    hidden: tuple[Tensor, ...]


torch.export.register_dataclass(Outputs)


class Pair(NamedTuple):
    """The same, not registered with torch."""

    logits: Tensor
    aux: Tensor


class ModelOutput(OrderedDict[str, Any]):
    """As in Hugging Face: a mapping whose keys torch does not know."""


pytree.register_pytree_node(
    ModelOutput,
    lambda output: (list(output.values()), list(output.keys())),
    lambda values, keys: ModelOutput(zip(keys, values, strict=True)),
)


@pytest.mark.parametrize(
    ("give", "names"),
    [
        (lambda x: x, ("logits",)),
        (lambda x: (x, [x + 1, {"aux": x + 2}]), ("output_0", "output_1_0", "output_1_1_aux")),
        (lambda x: {"logits": x, "a b": [x + 1, None]}, ("logits", "a_b_0")),
        (lambda x: Outputs(x, (x + 1, x + 2)), ("logits", "hidden_0", "hidden_1")),
        (lambda x: Pair(x, x + 1), ("logits", "aux")),
        (lambda x: ModelOutput(logits=x, hidden=(x + 1,)), ("logits", "hidden_0")),
    ],
)
def test_outputs_of_any_structure_are_unpacked_in_order(give, names) -> None:
    model = Function(lambda x: give(x.mean((2, 3, 4))))
    clip = torch.rand(1, 3, 2, 4, 4)
    assert tuple(named_outputs(model(clip))) == names
    graph = assert_lowers(model, (clip,))
    assert len(as_tuple(graph(clip))) == len(names)


@pytest.mark.parametrize("give", [lambda x, y: Outputs(x, (y,)), Pair, lambda x, y: ModelOutput(a=x, b=y)])
def test_captured_networks_are_saved_without_the_classes_of_their_outputs(give) -> None:
    saved = io.BytesIO()
    torch.export.save(capture(Function(lambda x: give(x + 1, x + 2)), (torch.zeros(2),)), saved)
    saved.seek(0)
    assert type(torch.export.load(saved).module()(torch.zeros(2))) is tuple


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.sub_(0.5).div_(0.25).mean((2, 3, 4)),
        lambda x: (x[:, 0].sub_(0.5), x.mean((2, 3, 4)), x)[1:],
        lambda x: x.split(1, 1)[2].mul_(3).mean((2, 3, 4)) + x.mean((2, 3, 4)),
    ],
    ids=["whole", "a view", "a part"],
)
def test_a_clip_that_is_changed_in_place_is_a_copy_in_the_graph(change) -> None:
    clip = torch.rand(1, 3, 2, 4, 4)
    expected = as_tuple(change(clip.clone()))
    program = capture(Function(change), (clip.clone(),))
    for graph in (program.module(check_guards=False), lower(program)):
        given = clip.clone()
        for want, got in zip(expected, as_tuple(graph(given)), strict=True):
            assert torch.allclose(want, got, atol=1e-6)
        assert torch.equal(given, clip)
