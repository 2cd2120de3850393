from __future__ import annotations

import operator

import pytest
import torch
from torch import Tensor, fx, nn

from export.capture.graph import capture
from export.lower import lower
from models.spec import as_tuple
from tests.export.networks import CONVOLUTIONS, OTHERS, Function, MobileNet3D, TwoInputs, conv, trained

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5


def clip(batch: int, shape: tuple[int, ...] = (3, 8, 12, 10)) -> Tensor:
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(batch))


def lowered(model: nn.Module, example: tuple[Tensor, ...]) -> fx.GraphModule:
    return lower(capture(model, example))


def assert_same(model: nn.Module, graph: fx.GraphModule, example: tuple[Tensor, ...]) -> None:
    expected, given = model(*example), graph(*example)
    assert type(expected) is type(given)
    for a, b in zip(as_tuple(expected), as_tuple(given), strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= TOLERANCE * a.abs().max()


def assert_rank_4(graph: fx.GraphModule) -> None:
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target is not operator.getitem:
            is_last = any(user.op == "output" for user in node.users)
            assert node.meta["val"].dim() <= 4 or is_last, node.format_node()
            assert "3d" not in str(node.target)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv3d(name: str) -> None:
    model = trained(CONVOLUTIONS[name]()) if "rank" not in name else CONVOLUTIONS[name]().eval()
    names = []
    for batch in (1, 3):
        graph = lowered(model, (clip(batch),))
        assert_same(model, graph, (clip(batch),))
        assert_rank_4(graph)
        targets = {str(node.target) for node in graph.graph.nodes}
        assert not any(word in target for target in targets for word in ("pad", "slice", "batch_norm"))
        names.append([node.name for node in graph.graph.nodes])
    assert names[0] == names[1]


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else(name: str) -> None:
    model = trained(OTHERS[name]())
    names = []
    for batch in (1, 3):
        graph = lowered(model, (clip(batch),))
        assert_same(model, graph, (clip(batch),))
        assert_rank_4(graph)
        names.append([node.name for node in graph.graph.nodes])
    assert names[0] == names[1]


@pytest.mark.parametrize("batch", [1, 2])
def test_mobilenet_is_exact_and_exports_again(batch: int) -> None:
    model, example = trained(MobileNet3D()), (clip(batch, (3, 8, 32, 32)),)
    graph = lowered(model, example)
    assert_same(model, graph, example)
    assert_rank_4(graph)
    again = torch.export.export(graph, example)
    assert_same(model, again.module(), example)


def test_several_inputs_and_outputs_keep_names_and_order() -> None:
    model, example = trained(TwoInputs()), (clip(1, (3, 4, 16, 16)), torch.randn(1, 1, 20, 24))
    graph = lowered(model, example)
    assert_same(model, graph, example)
    assert [node.name for node in graph.graph.nodes if node.op == "placeholder"] == ["clip", "audio"]
    assert not any("batch_norm" in str(node.target) for node in graph.graph.nodes)


def test_network_without_clips_is_left_as_it_is() -> None:
    model = trained(nn.Sequential(nn.Embedding(20, 8), nn.Flatten(), nn.Linear(32, 3), nn.ReLU()))
    example = (torch.randint(0, 20, (2, 4)),)
    graph = lowered(model, example)
    assert_same(model, graph, example)
    assert sum(parameter.requires_grad for parameter in graph.parameters()) == 3


def test_padding_in_words_becomes_numbers_for_every_axis() -> None:
    picture = torch.rand(1, 3, 6, 6)
    graph = lowered(nn.Conv2d(3, 4, (3, 4), padding="same"), (picture,))
    (layer,) = (node for node in graph.graph.nodes if node.target is torch.ops.aten.conv2d.default)
    # ONNX refuses geometry of fewer numbers than axes.
    assert list(layer.args[4]) == [1, 1] and all(len(numbers) == 2 for numbers in layer.args[3:6])


def test_weights_are_trainable_and_the_source_stays_untouched() -> None:
    model, example = trained(MobileNet3D()), (clip(2, (3, 4, 16, 16)),)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = lowered(model, example)
    graph(*example).square().sum().backward()
    assert all(parameter.grad is not None for parameter in graph.parameters())
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    # Gathering and moving frames is not trained.
    kinds = {name.split("_")[-2].rstrip("0123456789") for name, _ in graph.named_buffers()}
    assert kinds == {"taps", "move", "div"}


def test_depthwise_kernels_of_low_rank_take_fewer_convolutions() -> None:
    def convolutions(name: str) -> int:
        graph = lowered(CONVOLUTIONS[name]().eval(), (clip(1),))
        return sum(node.target is torch.ops.aten.conv2d.default for node in graph.graph.nodes)

    assert convolutions("depthwise") == 1 + 3 + 2  # the centre tap stays where it is
    assert convolutions("depthwise of rank 1") == 1 + 2
    assert convolutions("depthwise of rank 2") == 1 + 4


def test_normalisation_is_one_product_and_one_sum() -> None:
    graph = lowered(trained(MobileNet3D()), (clip(1, (3, 4, 16, 16)),))
    targets = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    aten = torch.ops.aten
    assert targets[:4] == [aten.reshape.default, aten.mul.Tensor, aten.add.Tensor, aten.conv2d.default]


class Gamma(nn.Module):
    def forward(self, clip: Tensor) -> Tensor:
        return torch.lgamma(clip + 1)


class Unpooled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool3d(2, return_indices=True)

    def forward(self, clip: Tensor) -> Tensor:
        small, places = self.pool(clip)
        return nn.functional.max_unpool3d(small, places, 2)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, clip: Tensor) -> Tensor:
        self.calls += 1
        return clip * self.calls


def helper(x: Tensor) -> Tensor:
    y = torch.lgamma(x)
    return y


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            Gamma(),
            r"lgamma at .*test_lower\.py:\d+ `return torch\.lgamma\(clip \+ 1\)` cannot be exported: mobile "
            "runtimes have no operator for it .*; write this line with sums",
        ),
        (
            Unpooled(),
            r"max_pool3d\w* at .*test_lower\.py:\d+ `small, places = self\.pool\(clip\)` cannot",
        ),
        (
            nn.Sequential(nn.Identity(), nn.MaxPool3d(2, return_indices=True)),
            r"max_pool3d\w* at module '1' \(MaxPool3d\) .*; use MaxPool3d without return_indices",
        ),
        (
            Function(lambda x: helper(x)),
            r"lgamma at .*test_lower\.py:\d+ `y = torch\.lgamma\(x\)` cannot be exp",
        ),
        (Function(lambda x: x + torch.rand(1)), "result is random"),
        (
            Function(lambda x: nn.functional.dropout(x)),
            r"dropout at .*test_lower\.py:\d+ .* its result is random; draw random numbers in training mode only",
        ),
        (Function(lambda x: nn.functional.dropout(x.mean((2, 3, 4)))), "result is random"),
        (Function(lambda x: nn.functional.dropout3d(x)), "result is random"),
        (Function(lambda x: nn.functional.rrelu(x, training=True)), "result is random"),
        (Function(lambda x: x.mean((2, 3, 4)) + torch.rand_like(x[:, :, 0, 0, 0])), "result is random"),
        (
            Function(lambda x: nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.1)),
            "result is random",
        ),
        (
            Function(lambda x: x[:, torch.tensor([True, False, True])]),
            r"at .* cannot be exported: the size of its result depends on values.*kept', mask.nonzero",
        ),
        (Function(lambda x, f: f(x[0]), nn.Conv3d(3, 3, 1)), r"no batch axis; give it clips N C T H W"),
        (
            Function(
                lambda x, f: nn.functional.conv3d(x, f(x).mean((2, 3, 4)).sum() * f.weight),
                nn.Conv3d(3, 3, 1),
            ),
            "computed from an",
        ),
    ],
)
def test_what_cannot_be_lowered_is_refused_by_name_and_place(model: nn.Module, message: str) -> None:
    with pytest.raises(NotImplementedError, match=message):
        lowered(model.eval(), (clip(1),))


def test_inputs_that_are_no_tensors_and_state_are_refused() -> None:
    with pytest.raises(ValueError, match="takes keyword, list or dict inputs"):
        lower(torch.export.export(Function(lambda x: x[0]), ([clip(1)],)))
    with pytest.raises(
        ValueError, match=r"changes its buffer 'calls' while it runs, .*; take the state as an input"
    ):
        lowered(Counting(), (clip(1),))
    with pytest.raises(ValueError, match=r"input 'clip' has shape \(1, 1, 3, 8, 12, 10\)"):
        lowered(Function(lambda x: x), (clip(1)[None],))


def test_dropout_that_drops_nothing_is_no_operator() -> None:
    model = Function(lambda x: nn.functional.dropout(nn.functional.dropout(x, p=0.0), training=False))
    graph = lowered(model, (clip(1),))
    assert_same(model, graph, (clip(1),))
    assert not any("dropout" in str(node.target) for node in graph.graph.nodes)


def test_capture_keeps_the_training_mode_and_refuses_lists() -> None:
    model = conv(3, 4, 1)
    model[1].eval()
    capture(model, (clip(1),))
    assert model.training and not model[1].training
    with pytest.raises(TypeError, match="input 1 of the example is list; give one tensor per input"):
        capture(model, (clip(1), [1]))  # type: ignore[arg-type]
