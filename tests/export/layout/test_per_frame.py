"""Per-frame form: the same function, written frame by frame."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from export.capture.graph import capture
from export.layout.per_frame import to_per_frame
from export.layout.per_frame.aligned import align_channels
from export.lower import lower
from models import STUDENTS
from models.spec import as_tuple
from models.statistics import settle_statistics
from tests.export.networks import CONVOLUTIONS, OTHERS, trained
from tests.specs import clip_spec

pytestmark = pytest.mark.slow

TOLERANCE = 2e-5


def clip() -> Tensor:
    return torch.rand(1, 3, 8, 12, 10, generator=torch.Generator().manual_seed(0))


def per_frame(model: nn.Module, example: tuple[Tensor, ...]) -> fx.GraphModule:
    return to_per_frame(lower(capture(model, example)))


def assert_same(model: nn.Module, graph: fx.GraphModule, example: tuple[Tensor, ...]) -> None:
    with torch.no_grad():
        for a, b in zip(as_tuple(model(*example)), as_tuple(graph(*example)), strict=True):
            assert a.shape == b.shape
            assert (a - b).abs().max() <= TOLERANCE * a.abs().max()


def targets(graph: fx.GraphModule) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


@pytest.mark.parametrize("name", [*CONVOLUTIONS, *OTHERS])
def test_the_function_stays_the_same(name: str) -> None:
    table: dict[str, Callable[[], nn.Module]] = {**CONVOLUTIONS, **OTHERS}
    model = trained(table[name]()) if "rank" not in name else table[name]().eval()
    assert_same(model, per_frame(model, (clip(),)), (clip(),))


@pytest.mark.parametrize("name", ["x3d_tiny", "r3d_tiny", "slowfast_tiny", "i3d_tiny", "movinet_tiny"])
def test_networks(name: str) -> None:
    spec = clip_spec(frames=8, size=32, classes=5)
    network = STUDENTS[name]
    model = network.build(spec, network.options())
    settle_statistics(model, spec)
    assert_same(model, per_frame(model, spec.example()), spec.example())


class Block(nn.Module):
    """A depthwise 3x3x3 convolution between dense ones."""

    def __init__(self, channels: int, activation: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(3, channels, 1),
            activation,
            nn.Conv3d(channels, channels, 3, padding=1, groups=channels),
            activation,
            nn.Conv3d(channels, 4, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3, 4))


def test_moves_in_time_need_no_work() -> None:
    model = Block(16, nn.ReLU()).eval()
    graph = per_frame(model, (clip(),))
    assert_same(model, graph, (clip(),))
    written = targets(graph)
    assert not any(word in target for target in written for word in ("permute", "pad.", "slice"))
    # 8 frames of the two dense layers, and 3 taps of each frame but one less at the first and the last frame.
    assert written.count("aten.conv2d.default") == 8 + 22 + 8


def test_channels_that_blocked_kernels_refuse_are_widened() -> None:
    model = Block(54, nn.SiLU()).eval()
    graph = per_frame(model, (clip(),))
    assert_same(model, graph, (clip(),))
    widths = {tensor.shape[0] for name, tensor in graph.named_buffers() if "tap" in name}
    assert 56 in widths and 54 not in widths


def test_no_constant_has_the_name_that_quantizers_give_to_the_scale_of_a_tensor() -> None:
    graph = per_frame(Block(16, nn.SiLU()).eval(), (clip(),))
    names = {node.name for node in graph.graph.nodes}
    assert any("_copy" in name for name in names), "scaled frames"
    assert not names & {f"{name}_{part}" for name in names for part in ("scale", "zero_point")}


class Gated(nn.Module):
    """A depthwise convolution of 12 channels times a gate of one, on images."""

    def __init__(self, gate: Callable[[Tensor], Tensor] | nn.Module) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 4, 1)
        self.depthwise, self.gate = nn.Conv2d(12, 12, 3, padding=1, groups=12), gate

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.first(x).relu())
        return self.last(x * self.gate(x)).mean((2, 3))


GATES: dict[str, tuple[Callable[[Tensor], Tensor] | nn.Module, int]] = {
    "computed by a convolution": (nn.Sequential(nn.Conv2d(12, 1, 1), nn.Sigmoid()), 16),
    "mean over channels": (lambda x: x.mean(1, keepdim=True), 12),
    "mean over everything": (lambda x: x.mean((1, 2, 3), keepdim=True), 12),
}
"""Gates, and the resulting number of channels of the depthwise convolution."""


@pytest.mark.parametrize("name", GATES)
def test_a_single_channel_is_not_widened(name: str) -> None:
    gate, width = GATES[name]
    model, x = Gated(gate).eval(), clip()[:, :, 0]
    graph = lower(capture(model, (x,)))
    align_channels(graph)
    assert_same(model, graph, (x,))
    (depthwise,) = (node for node in graph.graph.nodes if node.name == "conv2d_1")
    assert depthwise.args[6] == width


def test_dense_kernels_of_three_taps_take_four_products_for_two_frames() -> None:
    model = nn.Conv3d(32, 32, (3, 1, 1), padding=(1, 0, 0)).eval()
    x = torch.rand(1, 32, 10, 6, 6, generator=torch.Generator().manual_seed(0))
    graph = per_frame(model, (x,))
    assert_same(model, graph, (x,))
    dense = [
        node
        for node in graph.graph.nodes
        if node.target is torch.ops.aten.conv2d.default and (len(node.args) < 7 or node.args[6] == 1)
    ]
    assert len(dense) == 5 * 4  # for 10 frames; 28 without
