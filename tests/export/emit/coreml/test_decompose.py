import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("coremltools")

from export.capture.graph import capture
from export.emit.coreml.decompose import decompose
from export.emit.coreml.saved import import_quietly
from export.lower import lower
from tests.export.networks import Function


def decomposed(function, *inputs):
    import_quietly()

    class Net(nn.Module):
        def forward(self, *inputs):
            return function(*inputs)

    network = function if isinstance(function, nn.Module) else Net()
    program = decompose(torch.export.export(network, inputs))
    names = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    return names, program.module()(*inputs)


@pytest.mark.parametrize("layer", [nn.LSTM(3, 4, batch_first=True), nn.GRU(3, 4, 2, batch_first=True)])
def test_recurrent_layers_become_linear_layers(layer):
    import_quietly()
    x = torch.rand(1, 5, 3)
    program = decompose(torch.export.export(layer.eval(), (x,)))
    names = [str(node.target) for node in program.graph.nodes]
    assert "aten.linear.default" in names and not any("lstm" in name or "gru" in name for name in names)
    torch.testing.assert_close(program.module()(x)[0], layer(x)[0])


def test_operators_that_coremltools_lacks_are_decomposed():
    x = torch.randn(2, 3)
    names, given = decomposed(lambda x: F.celu(x, 1.5) + F.hardshrink(x), x)
    assert not any("celu" in name or "shrink" in name for name in names)
    torch.testing.assert_close(given, F.celu(x, 1.5) + F.hardshrink(x))


def test_operators_that_it_has_stay():
    names, _ = decomposed(lambda x: F.hardswish(x), torch.rand(2, 3))
    assert names == {"aten.hardswish.default"}


def test_an_unknown_operator_is_named_with_its_place():
    with pytest.raises(
        NotImplementedError, match=r"linalg_cholesky at .*test_decompose\.py:\d+ `return function"
    ):
        decomposed(lambda x: torch.linalg.cholesky(x), torch.eye(2))


def test_operators_that_coremltools_converts_incorrectly_are_decomposed():
    def function(x):
        either, one = torch.bitwise_or(x > 1.2, x > 1.6), torch.bitwise_xor(x > 1.2, x > 1.6)
        return 1 / x + x.asinh() + x.acosh() + either + one

    x = torch.rand(2, 3) + 1
    names, given = decomposed(function, x)
    wrong = ("reciprocal", "asinh", "acosh", "bitwise_or", "bitwise_xor")
    assert not any(name in target for target in names for name in wrong)
    torch.testing.assert_close(given, function(x))


def test_bitwise_operators_on_integers_are_refused_by_name():
    with pytest.raises(NotImplementedError, match=r"bitwise_or at .*test_decompose\.py:\d+ "):
        decomposed(lambda x: torch.bitwise_or(x, 5), torch.tensor([1, 2]))


@pytest.mark.parametrize(
    "layer",
    [
        nn.ReflectionPad2d((2, 1, 3, 2)),
        nn.Conv2d(3, 4, 7, padding=3, padding_mode="reflect"),
        nn.ReflectionPad2d((7, 0, 0, 6)),
        nn.Sequential(nn.ReflectionPad2d(1), nn.ReflectionPad2d((0, 3, 0, 0))),
    ],
    ids=["uneven", "of a convolution", "as far as it goes", "twice"],
)
def test_reflection_is_one_operator_for_each_axis(layer):
    import_quietly()
    x = torch.randn(1, 3, 7, 8)
    lowered = lower(capture(layer.eval(), (x,)))
    names, given = decomposed(lowered, x)
    assert "aten.reflection_pad2d.default" in names and not names & {"aten.cat.default", "aten.slice.Tensor"}
    torch.testing.assert_close(given, layer(x))


@pytest.mark.parametrize("mode", ["replicate", "circular"])
def test_other_padding_is_no_reflection(mode):
    x = torch.randn(1, 3, 7, 8)
    names, given = decomposed(lower(capture(Function(lambda x: F.pad(x, (1, 1, 1, 1), mode)), (x,))), x)
    assert "aten.reflection_pad2d.default" not in names
    torch.testing.assert_close(given, F.pad(x, (1, 1, 1, 1), mode))
