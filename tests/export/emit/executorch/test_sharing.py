"""ExecuTorch files of networks in which several operators share one value, one bias or one weight."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("executorch.exir")

from export.capture.graph import capture
from export.emit.executorch.writer import write
from export.lower import lower
from export.manifest import FileSpec, TensorInfo
from export.quantize.int8_reference import calibrate, convert, prepare
from models.spec import as_tuple
from tests.export.networks import Function

pytestmark = pytest.mark.slow


def assert_is_the_reference(tmp_path, model: nn.Module, *inputs: Tensor, scheme: str = "w8a8") -> None:
    """The file matches the int8 graph, up to single steps of rounding."""
    from executorch.runtime import Runtime

    graph = lower(capture(model.eval(), inputs))
    if scheme == "w8a8":
        prepared = prepare(graph)
        calibrate(prepared, [tuple(map(torch.randn_like, inputs)), inputs])
        graph = convert(prepared)
    with torch.no_grad():
        expected = as_tuple(graph(*inputs))
    spec = FileSpec(
        inputs=tuple(map(described, range(len(inputs)), inputs)),
        outputs=tuple(map(described, range(10, 10 + len(expected)), expected)),
        description={},
    )
    file = write(torch.export.export(graph, inputs), tmp_path / "model.pte", spec=spec, scheme=scheme)
    program = Runtime.get().load_program(file.path)
    given = program.load_method("forward").execute(list(inputs))
    for ours, theirs in zip(expected, given, strict=True):
        assert ours.shape == theirs.shape
        noise, signal = (ours - theirs).square().sum(), ours.square().sum()
        assert noise <= 1e-4 * signal


def described(index: int, tensor: Tensor) -> TensorInfo:
    return TensorInfo(
        name=f"t{index}", shape=tuple(tensor.shape), dtype="float32", layout="NCTHW"[: tensor.dim()]
    )


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options) -> None:
        super().__init__()
        self.layer = kind(8, 6, **options)

    def forward(self, x: Tensor, h: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        y, state = self.layer(x, h if c is None else (h, c))
        return y, *as_tuple(state)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (nn.LSTM, {"batch_first": True}),
        (nn.LSTM, {"num_layers": 2}),
        (nn.LSTM, {"bidirectional": True, "batch_first": True}),
        (nn.LSTM, {"proj_size": 3}),
        (nn.GRU, {"batch_first": True}),
    ],
)
def test_every_step_of_a_recurrent_layer_has_a_bias_in_its_own_units(tmp_path, kind, options):
    torch.manual_seed(0)
    states = (2 if options.get("bidirectional") else 1) * options.get("num_layers", 1)
    x = torch.randn((1, 2, 8) if options.get("batch_first") else (2, 1, 8))
    h = torch.randn(states, 1, options.get("proj_size", 6))
    memory = () if kind is nn.GRU else (torch.randn(states, 1, 6),)
    assert_is_the_reference(tmp_path, Recurrent(kind, **options), x, h, *memory)


class AppliedTwice(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, faint: Tensor) -> tuple[Tensor, Tensor]:
        return self.layer(x), self.layer(faint * 0.05)


@pytest.mark.parametrize("scheme", ["fp32", "w8a8"])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Conv2d(3, 8, 3), (1, 3, 8, 8)), (nn.Linear(8, 6), (1, 8)), (nn.Conv1d(3, 5, 3), (1, 3, 9))],
    ids=["conv2d", "linear", "conv1d"],
)
def test_a_layer_applied_twice(tmp_path, layer, shape, scheme):
    torch.manual_seed(0)
    assert_is_the_reference(
        tmp_path, AppliedTwice(layer), torch.randn(shape), torch.randn(shape), scheme=scheme
    )


class Viewed(nn.Module):
    """A convolution, and a function of its output."""

    def __init__(self, function) -> None:
        super().__init__()
        self.conv, self.seen = nn.Conv2d(3, 8, 3, padding=1), Function(function)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.seen(self.conv(x))


VIEWS = {
    "whole and halves": lambda z: (z, z[:, 4:], z[:, :4]),
    "the same twice": lambda z: (z, z),
    "whole and rows": lambda z: (z, z[:, :, 2:], z[..., ::2]),
    "whole and moved": lambda z: (z, z.permute(0, 2, 3, 1), z.flatten(1)),
    "chunks": lambda z: z.chunk(2, 1),
    "unbound": lambda z: (*z.unbind(1), z),
    "turned halves as a gate": lambda z: torch.sigmoid(torch.cat([-z[:, 4:], z[:, :4]], 1)) * z,
    "sum of absolute values, with itself": lambda z: z / z.norm(p=1, dim=(1, 3), keepdim=True),
    "largest value, with itself": lambda z: (z, z.norm(p=float("inf"), dim=(1, 3))),
    "cubes, with itself": lambda z: (z, z.norm(p=3, dim=(2, 3))),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_of_one_value(tmp_path, name):
    torch.manual_seed(0)
    assert_is_the_reference(tmp_path, Viewed(VIEWS[name]), torch.randn(1, 3, 8, 8))
