"""PReLU is one operator in every runtime, although lowering decomposes it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export.capture.graph import capture
from export.lower import lower
from export.lower.prelu import restore_prelu


def slopes(layer: nn.PReLU) -> nn.PReLU:
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-0.3, 0.6, layer.num_parameters))
    return layer


class Twice(nn.Module):
    """One layer of slopes after two others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Conv3d(3, 4, 1), nn.Conv3d(4, 4, 1), slopes(nn.PReLU(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.second(self.act(self.first(x))))


NETWORKS = {
    "slope of each channel": (lambda: nn.Sequential(nn.Conv3d(3, 4, 3), slopes(nn.PReLU(4))), (1, 3, 4, 5, 6), 1),
    "one slope": (lambda: nn.Sequential(nn.Conv3d(3, 4, 3), nn.PReLU()), (1, 3, 4, 5, 6), 1),
    "of pictures": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), slopes(nn.PReLU(4))), (2, 3, 5, 6), 1),
    "of features": (lambda: nn.Sequential(nn.Linear(5, 4), slopes(nn.PReLU(4))), (2, 5), 1),
    "one behind the other": (
        lambda: nn.Sequential(nn.Conv3d(3, 4, 3), nn.PReLU(), slopes(nn.PReLU(4)), slopes(nn.PReLU(4))),
        (1, 3, 4, 5, 6),
        3,
    ),
    "the same twice": (Twice, (1, 3, 4, 5, 6), 2),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_prelu_is_restored(name: str) -> None:
    torch.manual_seed(0)
    make, shape, count = NETWORKS[name]
    model, x = make().eval(), torch.randn(shape)
    program = torch.export.export(lower(capture(model, (x,))), (x,))
    restore_prelu(program)
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert names.count("aten.prelu.default") == count and not any("neg" in name for name in names)
    torch.testing.assert_close(program.module()(x), model(x))


def test_what_only_looks_like_prelu_stays() -> None:
    class Alike(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.rand(1, 3, 5, 6))

        def forward(self, x: Tensor) -> Tensor:
            return x.relu() - self.slope * (-x).relu() + (x.relu() - 0.3 * (1 - x).relu())

    x = torch.randn(1, 3, 5, 6)
    model = Alike().eval()
    program = torch.export.export(lower(capture(model, (x,))), (x,))
    restore_prelu(program)
    assert not any("prelu" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(x), model(x))


def test_litert_has_it_as_one_operator(tmp_path: Path) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    from export.emit.tflite.writer import write
    from tests.export.lower.test_runtimes import spec_of

    torch.manual_seed(0)
    make, shape, _ = NETWORKS["slope of each channel"]
    model, x = make().eval(), torch.randn(shape)
    program = torch.export.export(lower(capture(model, (x,))), (x,))
    file = write(program, tmp_path / "model.tflite", spec=spec_of((x,), (model(x).detach(),)), scheme="fp32")
    operators = [
        op["op_name"] for op in interpreter.Interpreter(model_path=str(file.path))._get_ops_details()
    ]
    assert operators.count("PRELU") == 1 and not {"NEG", "RELU", "SUB"} & set(operators)
