import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("coremltools")

from export.coreml.decompose import decompose
from export.coreml.saved import import_quietly


def decomposed(function, *inputs):
    import_quietly()

    class Net(nn.Module):
        def forward(self, *inputs):
            return function(*inputs)

    program = decompose(torch.export.export(Net(), inputs))
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


def test_operators_that_coremltools_has_not_are_taken_apart():
    x = torch.randn(2, 3)
    names, given = decomposed(lambda x: F.celu(x, 1.5) + F.hardshrink(x), x)
    assert not any("celu" in name or "shrink" in name for name in names)
    torch.testing.assert_close(given, F.celu(x, 1.5) + F.hardshrink(x))


def test_operators_that_it_has_stay():
    names, _ = decomposed(lambda x: F.hardswish(x), torch.rand(2, 3))
    assert names == {"aten.hardswish.default"}


def test_an_operator_that_nobody_knows_is_named_with_its_place():
    with pytest.raises(
        NotImplementedError, match=r"linalg_cholesky at .*test_decompose\.py:\d+ `return function"
    ):
        decomposed(lambda x: torch.linalg.cholesky(x), torch.eye(2))
