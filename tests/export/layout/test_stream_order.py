"""Stream order: the same function, frame after frame."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from export.capture.graph import capture
from export.layout.stream_order import stream
from export.layout.stream_order.rounding import DEQUANTIZE, QUANTIZE
from export.lower import lower
from export.quantize.int8_reference import calibrate, convert, prepare
from models import STUDENTS
from models.spec import as_tuple
from models.statistics import settle_statistics
from tests.export.networks import CONVOLUTIONS, OTHERS, MobileNet3D, conv, trained
from tests.specs import clip_spec

pytestmark = pytest.mark.slow

aten = torch.ops.aten

TOLERANCE = 2e-5


def clip(seed: int = 0) -> Tensor:
    return torch.rand(1, 3, 8, 12, 10, generator=torch.Generator().manual_seed(seed))


def lowered(model: nn.Module, x: Tensor) -> ExportedProgram:
    return torch.export.export(lower(capture(model, (x,))), (x,))


def int8(model: nn.Module, x: Tensor) -> ExportedProgram:
    prepared = prepare(lower(capture(model, (x,))))
    calibrate(
        prepared, [(torch.rand(x.shape, generator=torch.Generator().manual_seed(s)),) for s in range(4)]
    )
    return torch.export.export(convert(prepared), (x,))


def outputs_of(program: ExportedProgram, x: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return as_tuple(program.module()(x))


def assert_same(program: ExportedProgram, other: ExportedProgram, x: Tensor, tolerance: float) -> None:
    for a, b in zip(outputs_of(program, x), outputs_of(other, x), strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * a.abs().max()


def calls(program: ExportedProgram) -> list[fx.Node]:
    return [node for node in program.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("name", [*CONVOLUTIONS, *OTHERS])
def test_the_function_stays_the_same(name: str) -> None:
    table: dict[str, Callable[[], nn.Module]] = {**CONVOLUTIONS, **OTHERS}
    model = trained(table[name]()) if "rank" not in name else table[name]().eval()
    program = lowered(model, clip())
    streamed, _ = stream(program, plane_costs=True)
    assert_same(program, streamed, clip(), TOLERANCE)


@pytest.mark.parametrize(
    ("name", "form"),
    [("x3d_tiny", "int8"), ("mobilenet2plus1d_tiny", "float"), ("shufflenet3d_tiny", "float")],
)
def test_networks(name: str, form: str) -> None:
    spec = clip_spec(frames=8, size=32, classes=5)
    network = STUDENTS[name]
    model = network.build(spec, network.options())
    settle_statistics(model, spec)
    (x,) = spec.example()
    program = lowered(model, x) if form == "float" else int8(model, x)
    streamed, notes = stream(program, plane_costs=True)
    assert notes[0].startswith("form: frames one after the other in ")
    # Sums of floats in another order may round to the next int8 step.
    assert_same(program, streamed, x, TOLERANCE if form == "float" else 0.05)


class Block(nn.Module):
    """A depthwise 3x3x3 convolution between dense ones."""

    def __init__(self, channels: int = 8, stride: tuple[int, int, int] = (1, 1, 1)) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(3, channels, 1, act=nn.ReLU6),
            conv(channels, channels, 3, padding=1, stride=stride, groups=channels, act=nn.ReLU6),
            conv(channels, 4, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3, 4))


@pytest.mark.parametrize(("stride", "taps"), [((1, 1, 1), 22), ((2, 2, 2), 11)])
@pytest.mark.parametrize("form", ["float", "int8"])
def test_moving_frames_is_no_work_and_padding_is_never_convolved(
    form: str, stride: tuple[int, int, int], taps: int
) -> None:
    model = trained(Block(stride=stride))
    program = lowered(model, clip()) if form == "float" else int8(model, clip())
    streamed, notes = stream(program, plane_costs=False)
    assert re.match(r"form: frames one after the other in (7 of 7|8 of 8) convolutions", notes[0])
    written = [str(node.target) for node in calls(streamed)]
    assert written.count("aten.conv2d.default") == 8 + taps + 8 // stride[0]
    assert not any(word in target for target in written for word in ("pad", "permute"))
    assert_same(program, streamed, clip(), TOLERANCE if form == "float" else 0)


def test_every_integer_operator_reads_and_gives_int8_of_its_own() -> None:
    streamed, _ = stream(int8(trained(MobileNet3D()), clip()), plane_costs=True)
    for node in calls(streamed):
        if node.target is DEQUANTIZE:
            assert len(node.users) == 1 and node.args[0].target is QUANTIZE
        elif node.target in (aten.conv2d.default, aten.cat.default, aten.slice.Tensor, aten.mean.dim):
            sources = node.args[0] if isinstance(node.args[0], list) else node.args[:1]
            assert all(source.target is DEQUANTIZE for source in sources), node.format_node()
            assert all(reader.target is QUANTIZE for reader in node.users), node.format_node()


def test_operators_wait_for_the_last_frame_that_they_need() -> None:
    streamed, _ = stream(lowered(trained(nn.Sequential(Block(), nn.Flatten())), clip()), plane_costs=False)
    order = {node: index for index, node in enumerate(calls(streamed))}
    frames = [node for node in order if node.target is aten.slice.Tensor]
    sums = [node for node in order if node.target is aten.add.Tensor]
    assert len(frames) == 8 and len(sums) == 6 * 2 + 2
    # The first output frame is complete before the third input frame is touched.
    assert order[sums[0]] < order[frames[2]] < order[sums[-1]]


def test_layers_with_many_weights_take_whole_clips() -> None:
    heavy = trained(
        nn.Sequential(conv(3, 64, 1), conv(64, 64, 1), conv(64, 64, 3, padding=1, groups=64), conv(64, 64, 1))
    )
    program = lowered(heavy, clip())
    streamed, notes = stream(program, plane_costs=True)
    assert notes == () and streamed is program


def test_a_network_that_mixes_no_frames_stays_as_it_is() -> None:
    program = lowered(trained(conv(3, 8, (1, 3, 3))), clip())
    assert stream(program, plane_costs=True) == (program, ())
