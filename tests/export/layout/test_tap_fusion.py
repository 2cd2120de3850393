"""The int8 form for ONNX Runtime: depthwise kernels over space and time in one convolution, gathered planes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from export.capture.graph import capture
from export.layout.stream_order.rounding import DEQUANTIZE, READ_WEIGHT
from export.layout.tap_fusion import lower as windows
from export.lower import NOTES, ROUNDED_ANEW, lower
from export.quantize.int8_reference import calibrate, convert, prepare
from tests.export.networks import Function, MobileNet3D, conv, trained

aten = torch.ops.aten


def clip(seed: int = 0) -> Tensor:
    return torch.rand(1, 3, 8, 12, 10, generator=torch.Generator().manual_seed(seed))


def int8(model: nn.Module) -> ExportedProgram:
    prepared = prepare(lower(capture(model, (clip(),))))
    calibrate(prepared, [(clip(seed),) for seed in range(4)])
    return torch.export.export(convert(prepared), (clip(),))


def noise(answer: Tensor, of: Tensor) -> float:
    """Power of the difference relative to that of `of`."""
    return float(((answer - of) ** 2).sum() / (of**2).sum())


def convolutions(module: fx.GraphModule) -> list[fx.Node]:
    return [node for node in module.graph.nodes if node.target is aten.conv2d.default]


class Depthwise(nn.Module):
    """A depthwise convolution over space and time between dense ones."""

    def __init__(
        self, *, kernel: int = 3, bias: bool = True, residual: bool = False, **geometry: int
    ) -> None:
        super().__init__()
        self.before = conv(3, 6, 1, act=nn.ReLU6)
        self.taps = nn.Conv3d(6, 6, kernel, bias=bias, groups=6, **geometry)  # type: ignore[arg-type]
        self.after = conv(6, 4, 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        y = self.taps(x)
        return self.after(x + y if self.residual else y)


GEOMETRIES = {
    "padded": {"padding": 1},
    "strided": {"padding": 1, "stride": 2},
    "valid": {},
    "long": {"kernel": 5, "padding": 2},
    "without bias": {"padding": 1, "bias": False},
    "before a residual": {"padding": 1, "residual": True},
}


@pytest.mark.parametrize("name", GEOMETRIES)
@torch.no_grad()
def test_a_depthwise_kernel_is_one_convolution_with_less_noise(name: str) -> None:
    torch.manual_seed(0)
    model = trained(Depthwise(**GEOMETRIES[name]))  # type: ignore[arg-type]
    program = int8(model)
    written = windows(program)
    assert len(convolutions(written)) == 3
    assert written.meta[NOTES][0].endswith("one convolution each, 1 of them")
    assert written.meta[ROUNDED_ANEW]
    x = clip(seed=9)
    expected = model(x)
    assert noise(written(x), expected) <= 1.1 * noise(program.module()(x), expected)
    assert noise(written(x), expected) < 1e-2


@pytest.mark.parametrize("add", [lambda y: y + y, lambda y: y + 1.0, lambda y: y.add(y.roll(1, 2), alpha=3)])
@torch.no_grad()
def test_other_sums_stay(add: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    in_space = nn.Conv3d(6, 6, (1, 3, 3), padding=(0, 1, 1), groups=6, bias=False)
    layers = conv(3, 6, 1, act=nn.ReLU6), in_space, conv(6, 4, 1)
    program = int8(trained(Function(lambda x, before, taps, after: after(add(taps(before(x)))), *layers)))
    written = windows(program)
    assert torch.equal(written(clip(seed=9)), program.module()(clip(seed=9)))


@pytest.mark.parametrize("geometry", [{"dilation": 2, "padding": 2}, {"groups": 2, "padding": 1}])
def test_other_convolutions_over_time_stay(geometry: dict[str, int]) -> None:
    torch.manual_seed(0)
    groups = geometry.pop("groups", 6)
    layer = nn.Conv3d(6, 6, 3, groups=groups, **geometry)  # type: ignore[arg-type]
    program = int8(trained(nn.Sequential(conv(3, 6, 1), layer, conv(6, 4, 1))))
    before = sum(node.target is aten.conv2d.default for node in program.graph.nodes)
    written = windows(program)
    assert len(convolutions(written)) == before and written.meta[NOTES] == ()
    assert not written.meta[ROUNDED_ANEW]


@pytest.mark.parametrize(
    ("kernel", "stride", "channels"), [(3, 2, 12), ((1, 3, 3), (1, 2, 2), 4), ((1, 1, 1), 1, 3)]
)
@torch.no_grad()
def test_the_first_convolution_reads_planes_of_a_multiple_of_channels_and_gives_the_same(
    kernel: int | tuple[int, ...], stride: int | tuple[int, ...], channels: int
) -> None:
    torch.manual_seed(0)
    padding = 1 if kernel == 3 else tuple(size // 2 for size in kernel)  # type: ignore[union-attr]
    first_layer = conv(3, 8, kernel, stride=stride, padding=padding, act=nn.ReLU6)
    model = trained(nn.Sequential(first_layer, conv(8, 4, 1)))
    program = int8(model)
    written = windows(program)
    first, _ = convolutions(written)
    weight = first.args[1].args[0]  # type: ignore[union-attr]
    assert dict(written.named_buffers())[str(weight.target)].shape[1] == channels  # type: ignore[union-attr]
    assert torch.equal(written(clip(seed=9)), program.module()(clip(seed=9)))


@torch.no_grad()
def test_a_network() -> None:
    model = trained(MobileNet3D())
    program = int8(model)
    x = clip(seed=9)
    written = windows(program)
    assert noise(written(x), model(x)) < 2 * noise(program.module()(x), model(x))


class Tokens(nn.Module):
    """Linear layers over rows of pixels, with a float operator in between."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(10, 12), nn.Linear(12, 8), nn.Linear(8, 5)])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.layers[0](x.flatten(1, 3)))
        return self.layers[2](torch.softmax(self.layers[1](x), -1)).mean(1)


@torch.no_grad()
def test_linear_layers_over_tokens_are_products_of_matrices() -> None:
    torch.manual_seed(0)
    program = int8(Tokens())
    written = windows(program)
    assert torch.equal(written(clip()), program.module()(clip()))
    graph = torch.export.export(written, (clip(),)).graph
    linear = [node for node in graph.nodes if node.target is aten.linear.default]
    assert len(linear) == 3
    for node in linear:
        values, weight = node.args[:2]
        assert values.target is DEQUANTIZE and weight.target is READ_WEIGHT, "nothing in between"
        assert values.args[0].meta["val"].dtype is torch.int8 and values.meta["val"].dim() == 2
