from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from export.capture.graph import capture
from export.lower import lower
from export.quantize.int8_reference import (
    calibrate,
    convert,
    for_evaluation,
    freeze_ranges,
    prepare,
    transfer,
)
from export.quantize.learned_steps import LEARNED
from export.quantize.observers import CALIBRATED, TRAINED, Ranges, calibrated
from export.quantize.quantizer import KEEPS_VALUES
from models.spec import as_tuple
from tests.export.networks import Function, MobileNet3D, SqueezeExcite, TwoInputs, conv, trained

pytestmark = pytest.mark.slow

aten = torch.ops.aten
QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default


def clips(count: int, seed: int, *, frames: int = 4, size: int = 16) -> Tensor:
    """Smooth moving images in 0..1."""
    coarse = torch.rand(count, 3, frames // 2, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(frames, size, size), mode="trilinear")


def lowered(model: nn.Module, example: tuple[Tensor, ...]) -> fx.GraphModule:
    return lower(capture(model, example))


def quantized(model: nn.Module, *, batch: int = 1) -> fx.GraphModule:
    prepared = prepare(lowered(model, (clips(batch, 0),)))
    calibrate(prepared, [(clips(batch, seed),) for seed in range(8)])
    return convert(prepared)


def sqnr_db(expected: Tensor, given: Tensor) -> float:
    return 10 * math.log10(expected.square().sum() / (expected - given).square().sum())


def each_alone(graph: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    return torch.cat([graph(batch[i : i + 1]) for i in range(len(batch))])


def assert_all_layers_are_int8(reference: fx.GraphModule) -> None:
    """All layers except constants that a clip is multiplied with or added to before its rounding."""
    normalised = {node for node in reference.graph.nodes if node.op == "placeholder"}
    for node in reference.graph.nodes:
        prepares = node.target in (aten.reshape.default, aten.mul.Tensor, aten.add.Tensor)
        if prepares and node.args[0] in normalised:
            normalised.add(node)
    for node in reference.graph.nodes:
        if (
            node.op == "call_function"
            and node.target not in (QUANTIZE, DEQUANTIZE)
            and "quantize" not in node.name
            and node not in normalised
        ):
            sources = node.args[0] if node.target is aten.cat.default else node.args[:1]
            assert all(source.target is DEQUANTIZE for source in sources), node.format_node()
            assert all(user.target is QUANTIZE for user in node.users), node.format_node()
            if node.target in (aten.conv2d.default, aten.linear.default):
                assert "dequantize_per_channel" in node.args[1].name
            if node.target in KEEPS_VALUES:
                assert all(user.args[1:] == node.args[0].args[1:] for user in node.users), node.format_node()
        if node.target is DEQUANTIZE:
            assert len(node.users) == 1, node.format_node()


@pytest.fixture(scope="module")
def mobilenet() -> nn.Module:
    return trained(MobileNet3D())


@pytest.fixture(scope="module")
def reference(mobilenet: nn.Module) -> fx.GraphModule:
    return quantized(mobilenet)


@torch.no_grad()
def test_int8_is_close_to_float(mobilenet: nn.Module, reference: fx.GraphModule) -> None:
    test = clips(16, 100)
    expected, given = mobilenet(test), each_alone(reference, test)
    assert sqnr_db(expected, given) > 28
    assert (expected.argmax(1) == given.argmax(1)).float().mean() >= 0.9


def test_every_operator_reads_and_gives_int8(reference: fx.GraphModule) -> None:
    assert_all_layers_are_int8(reference)
    targets = [node.target for node in reference.graph.nodes]
    assert aten.hardtanh.default not in targets  # the ranges imply the clamps
    assert targets.count(aten.reshape.default) + targets.count(aten.permute.default) > 20


@pytest.mark.parametrize("ranges", [CALIBRATED, calibrated(weights="mse"), TRAINED, LEARNED])
def test_weights_of_7_bits_except_in_depthwise_layers(ranges: Ranges) -> None:
    network = nn.Sequential(
        conv(3, 8, 3, padding=1), conv(8, 8, (1, 3, 3), groups=8), conv(8, 16, 1, groups=4)
    )
    prepared = prepare(lowered(trained(network), (clips(1, 0),)), ranges=ranges.with_weights_of(7))
    calibrate(prepared, [(clips(1, seed),) for seed in range(2)])
    narrow = convert(prepared)
    largest = {}
    for node in narrow.graph.nodes:
        if node.target is aten.conv2d.default:
            numbers = getattr(narrow, str(node.args[1].args[0].target))
            largest[tuple(numbers.shape)] = int(numbers.abs().max())
    assert len(largest) == 4  # one of them moves frames
    for shape, found in largest.items():
        limit = 127 if shape[:2] == (8, 1) else 64
        assert limit * 0.9 < found <= limit, shape
    assert ranges.with_weights_of(8) is ranges


def test_moving_frames_is_exact(reference: fx.GraphModule) -> None:
    moves = 0
    for node in reference.graph.nodes:
        if node.target is not aten.conv2d.default or node.args[2] is not None:
            continue
        weight, scale = (getattr(reference, node.args[1].args[i].target) for i in (0, 1))
        if set(weight.flatten().tolist()) == {0, 127}:
            assert torch.equal(scale, torch.full_like(scale, 1 / 127))
            assert node.args[0].args[1:] == next(iter(node.users)).args[1:]
            moves += 1
    # The stem's taps, two of three taps of each layer, all three for a temporal stride.
    assert moves == 1 + 4 * 2 + 3


def test_taps_share_a_scale_until_the_last_is_added(reference: fx.GraphModule) -> None:
    sums = [node for node in reference.graph.nodes if node.target is aten.add.Tensor]
    scales = [{*(x.args[1:] for x in node.all_input_nodes), next(iter(node.users)).args[1:]} for node in sums]
    assert [len(each) for each in scales].count(1) == 5  # of three taps the first two, in five layers


@torch.no_grad()
def test_evaluation_graph_gives_the_same_numbers(reference: fx.GraphModule) -> None:
    test = clips(1, 100)
    assert torch.equal(reference(test), for_evaluation(reference)(test))


def test_reference_survives_export_and_a_file(reference: fx.GraphModule) -> None:
    test = clips(1, 100)
    file = io.BytesIO()
    torch.export.save(torch.export.export(reference, (test,)), file)
    file.seek(0)
    assert torch.equal(torch.export.load(file).module()(test), reference(test))


@torch.no_grad()
def test_ranges_move_from_batch_to_single_clips(mobilenet: nn.Module) -> None:
    prepared = prepare(lowered(mobilenet, (clips(4, 0),)))
    calibrate(prepared, [(clips(4, seed),) for seed in range(2)])
    single = prepare(lowered(mobilenet, (clips(1, 0),)))
    transfer(prepared, single)
    test = clips(4, 100)
    one, four = each_alone(convert(single), test), convert(prepared)(test)
    step = one.unique().diff().min()
    assert (one - four).abs().max() < 1.5 * step  # sums of floats in another order may round to the next step


def test_transfer_refuses_other_networks(mobilenet: nn.Module) -> None:
    one = prepare(lowered(mobilenet, (clips(1, 0),)))
    other = prepare(lowered(trained(conv(3, 4, 1)), (clips(1, 0),)))
    with pytest.raises(ValueError, match="only one of them has "):
        transfer(one, other)
    wider = prepare(lowered(trained(conv(3, 5, 1)), (clips(1, 0),)))
    with pytest.raises(ValueError, match=r"'conv3d_\w+' has shapes \(.*\) and \(.*\)"):
        transfer(other, wider)


def test_qat_learns_and_moves_to_a_single_clip() -> None:
    model, examples = trained(MobileNet3D(classes=3)), clips(8, 0)
    wanted = torch.arange(8) % 3
    prepared = prepare(lowered(model, (examples,)), qat=True)
    calibrate(prepared, [(examples,)])
    optimizer = torch.optim.Adam(prepared.parameters(), lr=3e-3)
    with torch.no_grad():
        before = prepared(examples)
        prepared(100 * examples)  # evaluation does not change the ranges
        assert torch.equal(before, prepared(examples))
    losses = []
    for step in range(20):
        if step == 12:
            freeze_ranges(prepared)
            ranges = copy.deepcopy(dict(prepared.named_buffers()))
        loss = F.cross_entropy(prepared(examples), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    name = "activation_post_process_0.scale"
    assert torch.equal(ranges[name], dict(prepared.named_buffers())[name])
    single = prepare(lowered(model, (examples[:1],)), qat=True)
    transfer(prepared, single)
    reference = convert(single)
    assert_all_layers_are_int8(reference)
    with torch.no_grad():
        # Training rounds every weight and value as the reference does, up to sums in another order.
        assert sqnr_db(prepared(examples), each_alone(reference, examples)) > 60


class Branches(nn.Module):
    """Concatenation, pooling and gates between convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), act=nn.Hardswish)
        self.one = conv(8, 8, (3, 1, 1), padding=(1, 0, 0), act=nn.ReLU)
        self.gate = SqueezeExcite(16, lambda x: x.mean((2, 3, 4), keepdim=True), nn.Hardsigmoid())
        self.later = nn.Sequential(conv(16, 8, 1, act=nn.SiLU), nn.AvgPool3d((3, 1, 1), 1, (1, 0, 0)))
        self.pool, self.last = nn.MaxPool3d(2), conv(24, 16, 3, padding=1, act=nn.ReLU)
        self.classifier = nn.Linear(16, 5)

    def forward(self, clip: Tensor) -> Tensor:
        x = self.stem(clip)
        x = self.gate(torch.cat([self.one(x), x + 0.5], 1))
        x = torch.cat([self.later(x), x], 1)
        return self.classifier(self.last(self.pool(x)).mean((2, 3, 4)))


@torch.no_grad()
def test_branches_gates_and_curves() -> None:
    model = trained(Branches())
    reference = quantized(model)
    assert_all_layers_are_int8(reference)
    concatenations = [node for node in reference.graph.nodes if node.target is aten.cat.default]
    for node in concatenations:
        scales = {source.args[1:] for source in node.args[0]} | {user.args[1:] for user in node.users}
        assert len(scales) == 1
    gate = next(node for node in reference.graph.nodes if node.target is aten.hardsigmoid.default)
    assert next(iter(gate.users)).args[1:3] == (1 / 256, -128)
    test = clips(8, 100)
    assert sqnr_db(model(test), each_alone(reference, test)) > 20


FUTURE = torch.ones(4, 4).triu(1).bool()


def scores(x: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of four tokens, different enough for a softmax that is not uniform; and the tokens."""
    tokens = 4 * x[:, :, :, 0].permute(0, 2, 1, 3).flatten(2) - 2
    return tokens @ tokens.transpose(1, 2) / 4, tokens


def masked(x: Tensor, mask: Callable[[Tensor], Tensor]) -> Tensor:
    found, tokens = scores(x)
    return mask(found).softmax(-1) @ tokens


MASKS: dict[str, Callable[[Tensor], Tensor]] = {
    "added": lambda x: masked(x, lambda s: s + FUTURE * -1e30),
    "added twice": lambda x: masked(
        x, lambda s: (s + FUTURE[None] * -100.0)[None].squeeze(0) + FUTURE * -1e30
    ),
    "filled in": lambda x: masked(x, lambda s: s.masked_fill(FUTURE, -math.inf)),
    "filled in and scaled": lambda x: masked(x, lambda s: s.masked_fill(FUTURE, -math.inf) * 0.5),
    "causal": lambda x: F.scaled_dot_product_attention(*[scores(x)[1]] * 3, is_causal=True),
}


@torch.no_grad()
@pytest.mark.parametrize("mask", MASKS)
def test_masks_leave_the_scores_of_attention_as_they_are(mask: str) -> None:
    model = Function(MASKS[mask]).eval()
    test = clips(4, 100)
    assert sqnr_db(model(test), each_alone(quantized(model), test)) > 30


@torch.no_grad()
def test_attention_over_many_values_is_not_rounded_to_nothing() -> None:
    model = Function(lambda x: torch.softmax((y := x.flatten(2)).mT @ y, -1) @ y.mT).eval()
    test = clips(2, 100)
    assert sqnr_db(model(test), each_alone(quantized(model), test)) > 30


def test_softmax_of_a_layer_stays_int8() -> None:
    model = trained(Function(lambda x, f, g: g((f(x) + f(x)).softmax(1)), conv(3, 4, 1), conv(4, 4, 1)))
    assert_all_layers_are_int8(quantized(model))


@torch.no_grad()
def test_evaluation_graph_rounds_what_was_only_moved_since_it_was_float() -> None:
    model = trained(Function(lambda x, f: f((x[..., 0] @ x[..., 1].mT).mT.flatten(2)), nn.Linear(16, 40)))
    reference, test = quantized(model), clips(1, 100)
    rounded = for_evaluation(reference)
    assert torch.equal(reference(test), rounded(test))
    assert sum(node.target is aten.round_.default for node in rounded.graph.nodes) == 3


@torch.no_grad()
def test_several_inputs_and_outputs() -> None:
    model, example = trained(TwoInputs()), (clips(1, 0, frames=2), torch.randn(1, 1, 20, 24))
    prepared = prepare(lowered(model, example))
    calibrate(prepared, [example])
    reference = convert(prepared)
    assert_all_layers_are_int8(reference)
    for expected, given in zip(model(*example), as_tuple(reference(*example)), strict=True):
        assert sqnr_db(expected, given) > 25


def test_clamp_stays_where_its_range_is_narrower() -> None:
    model = trained(Function(lambda x, f: (y := f(x)).clamp(-0.1, 0.1) + y, conv(3, 4, 1)))
    reference = quantized(model)
    assert aten.clamp.default in {node.target for node in reference.graph.nodes}


def test_refusals(mobilenet: nn.Module) -> None:
    graph = lowered(mobilenet, (clips(2, 0),))
    with pytest.raises(ValueError, match="scheme 'w4' has no int8 reference; allowed: w8a8"):
        prepare(graph, scheme="w4")
    prepared = prepare(graph)
    with pytest.raises(
        ValueError, match=r"the range of '\w+' is unknown; run calibrate\(\) before convert\(\)"
    ):
        convert(prepared)
    with pytest.raises(ValueError, match="no calibration batch"):
        calibrate(prepared, [])
    with pytest.raises(
        ValueError, match=r"has shapes \[\(3, 3, 4, 16, 16\)\]; the graph was lowered for \[\(2,"
    ):
        calibrate(prepared, [(clips(3, 0),)])
    dynamic = Function(lambda x, f: F.linear(x.flatten(1)[:, :4], f(x[:, :, 0, :4, 0])[0]), nn.Linear(4, 4))
    with pytest.raises(RuntimeError, match="would stay float: its weight is not a constant"):
        prepare(lowered(dynamic.eval(), (clips(1, 0),)))


@torch.no_grad()
@pytest.mark.parametrize("case", ["fp32", "w8a8"])
def test_xnnpack_takes_everything_in_one_partition(mobilenet: nn.Module, case: str) -> None:
    pytest.importorskip("executorch")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.devtools.backend_debug import get_delegation_info
    from executorch.exir import to_edge_transform_and_lower
    from executorch.runtime import Runtime

    tests: list[tuple[Tensor, ...]] = [(clips(1, seed),) for seed in range(100, 108)]
    graph = lowered(mobilenet, tests[0]) if case == "fp32" else quantized(mobilenet)
    edge = to_edge_transform_and_lower(
        torch.export.export(graph, tests[0]), partitioner=[XnnpackPartitioner()]
    )
    assert get_delegation_info(edge.exported_program().graph_module).num_delegated_subgraphs == 1
    left = {
        str(n.target) for n in edge.exported_program().graph_module.graph.nodes if n.op == "call_function"
    }
    assert left == {"executorch_call_delegate", "<built-in function getitem>"}
    file = edge.to_executorch().buffer  # the runtime reads it in place while it runs
    program = Runtime.get().load_program(file)
    method = program.load_method("forward")
    given = torch.cat([method.execute([x.contiguous() for x in test])[0].clone() for test in tests])
    expected = torch.cat([as_tuple(graph(*test))[0] for test in tests])
    assert sqnr_db(expected, given) > (100 if case == "fp32" else 35)
    assert torch.equal(expected.argmax(1), given.argmax(1))
