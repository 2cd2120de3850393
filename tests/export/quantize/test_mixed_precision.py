"""Layers in float inside an int8 network: the reference, and the files of every format."""

from __future__ import annotations

import copy
from operator import attrgetter

import pytest
import torch
from torch import Tensor, nn

from export.capture.graph import capture
from export.capture.stepping import step_network
from export.layout.tap_fusion import lower as fuse
from export.lower import lower
from export.private.litert import operators_of
from export.quantize.int8_reference import calibrate, convert, prepare
from export.quantize.layer_noise import rank_layers
from export.quantize.layers import layers_of, weight_values
from export.quantize.mixed_precision import float_layers, keep_float
from export.quantize.quantizer import WEIGHTED
from export.quantize.sensitivity import SwitchedGraph
from export.quantize.step_reference import step_reference
from export.verify.parity import SQNR_LIMIT_DB
from tests.export.capture.test_stepping import after_all_frames, movinet
from tests.export.networks import SqueezeExcite, conv, trained
from tests.export.quantize.test_int8_reference import clips, sqnr_db
from tests.export.single_files import ANSWERS, write

pytestmark = pytest.mark.slow

QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default


class Net(nn.Module):
    """A first, a pointwise, a depthwise, a temporal and a last layer, a squeeze-excite branch, a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), act=nn.Hardswish)
        self.expand = conv(8, 16, 1, act=nn.ReLU6)
        self.depthwise = conv(16, 16, 3, padding=1, groups=16, act=nn.ReLU6)
        self.excite = SqueezeExcite(16, lambda x: x.mean((2, 3, 4), keepdim=True), nn.Hardsigmoid())
        self.project = conv(16, 8, 1)
        self.classifier = nn.Linear(8, 5)

    def forward(self, clip):
        y = self.stem(clip)
        y = y + self.project(self.excite(self.depthwise(self.expand(y))))
        return self.classifier(y.mean((2, 3, 4)))


CASES = {
    "first": ["stem.0"],
    "middle": ["project.0"],
    "depthwise": ["depthwise.0"],
    "last": ["classifier"],
    "squeeze-excite": ["excite.down", "excite.up"],
    "neighbours": ["stem.0", "expand.0", "project.0"],
}

FILES = {
    "first, middle and neighbours": CASES["neighbours"],
    "depthwise, squeeze-excite and last": [*CASES["depthwise"], *CASES["squeeze-excite"], *CASES["last"]],
}
"""The same layers, in as few files as possible."""

ONE_STEP_DB = 35
"""Outputs that differ in one step of one logit."""


@pytest.fixture(scope="module")
def model():
    return trained(Net())


@pytest.fixture(scope="module")
def prepared(model):
    graph = prepare(lower(capture(model, (clips(1, 0),))))
    calibrate(graph, [(clips(1, seed),) for seed in range(8)])
    return graph


def reference_of(prepared, names):
    graph = copy.deepcopy(prepared)
    keep_float(graph, names)
    return convert(graph)


def close(expected, given, *, db=SQNR_LIMIT_DB) -> bool:
    """Equal, or different by the order of float sums only."""
    return torch.equal(expected, given) or sqnr_db(expected, given) > db


def test_names_are_those_of_modules_and_of_operators_in_them(prepared):
    names = list(dict.fromkeys(layers_of(prepared).values()))
    assert names == [
        *("stem.0", "expand.0", "depthwise.0", "mean in excite", "excite.down", "excite.up"),
        *("mul in excite", "project.0", "add", "classifier"),
    ]
    counts = weight_values(prepared, layers_of(prepared))
    assert (counts["stem.0"], counts["classifier"], counts["add"]) == (8 * 3 * 9, 8 * 5, 0)


@pytest.mark.parametrize("case", CASES)
def test_exactly_the_named_layers_are_float_and_switches_give_the_same_numbers(model, prepared, case):
    graph = reference_of(prepared, CASES[case])
    assert float_layers(graph) == tuple(CASES[case])
    stored = float_layers(torch.export.export(graph, (clips(1, 0),)))
    assert stored == float_layers(graph), "a program has the same names"
    switched = SwitchedGraph(prepared)
    switched.switch(CASES[case])
    clip = clips(1, 50)
    with torch.no_grad():
        expected = graph(clip)
        assert close(expected, switched.logits([(clip,)], 1)[0], db=120)
        assert sqnr_db(model(clip), expected) > 25


def test_all_layers_in_float_are_the_float_network(model, prepared):
    graph = reference_of(prepared, set(layers_of(prepared).values()))
    assert not any("quantize" in str(node.target) for node in graph.graph.nodes)
    with torch.no_grad():
        assert close(model(clips(1, 50)), graph(clips(1, 50)), db=100)


def test_neighbours_in_float_round_nothing_between_them(prepared):
    graph = reference_of(prepared, ["stem.0", "expand.0"])
    nodes = {node.name: node for node in graph.graph.nodes}
    stem = next(node for node in nodes.values() if node.target is torch.ops.aten.hardswish.default)
    readers = {user.target for user in stem.users}
    assert torch.ops.aten.conv2d.default in readers, "`expand` reads the float value"
    assert QUANTIZE in readers, "the int8 sum reads the rounded one"
    first = next(node for node in nodes.values() if node.target is torch.ops.aten.conv2d.default)
    assert all(source.target is not DEQUANTIZE for source in first.all_input_nodes), (
        "the input is not rounded"
    )


def test_an_operator_between_layers_in_float_is_float(prepared):
    layers = ["depthwise.0", "excite.up"]
    graph = reference_of(prepared, layers)
    product = next(node for node in reversed(graph.graph.nodes) if node.target is torch.ops.aten.mul.Tensor)
    assert all(source.target is not DEQUANTIZE for source in product.all_input_nodes)
    assert float_layers(graph) == tuple(layers)


def test_an_unknown_layer_is_refused(prepared):
    with pytest.raises(ValueError, match=r"no layer is named 'stem'; the nearest of 10 names: stem\.0"):
        keep_float(copy.deepcopy(prepared), ["stem"])


def weights_in_float(graph) -> list[Tensor]:
    """The float weights of convolutions and linear layers of a reference."""
    nodes = [node.args[1] for node in graph.graph.nodes if node.target in WEIGHTED]
    weights = [attrgetter(node.target)(graph) for node in nodes if node.op == "get_attr"]
    return [weight.detach() for weight in weights]


def computing(weights) -> int:
    """Number of different float weights that do not only move frames."""
    floats = {weight.tobytes(): weight for weight in weights if weight.dtype == "float32"}
    return sum(not set(weight.flatten().tolist()) <= {0.0, 1.0} for weight in floats.values())


def weighted_in_file(file, format: str) -> int:
    """Number of convolutions and matrix products of a file with float weights, as its writer found them there."""
    if format == "coreml":
        (block,) = file_block(file.path)
        kinds = [operation.type for operation in block.operations]
        return kinds.count("conv") + kinds.count("linear") - kinds.count("constexpr_affine_dequantize")
    if format == "onnx":
        (note,) = [note for note in file.notes if note.startswith("in float: ")]
        return len(note.split(", "))
    from ai_edge_litert.interpreter import Interpreter

    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    interpreter = Interpreter(str(file.path), num_threads=1)
    interpreter.allocate_tensors()
    read = {int(one["inputs"][1]) for one in operators_of(interpreter) if one["op_name"] in kinds}
    weights = [interpreter.get_tensor(index) for index in read]
    return computing(weights)


def file_block(path):
    import coremltools

    program = coremltools.utils.load_spec(str(path)).mlProgram
    return program.functions["main"].block_specializations.values()


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_a_file_has_exactly_these_layers_in_float_and_the_numbers_of_the_reference(
    prepared, tmp_path, format, case
):
    pytest.importorskip({"onnx": "onnxruntime", "tflite": "ai_edge_litert"}[format])
    graph, clip = reference_of(prepared, FILES[case]), clips(1, 50)
    file = write(graph, clip, tmp_path, format=format, scheme="w8a8")
    with torch.no_grad():
        assert close(graph(clip), ANSWERS[format](file.path, clip), db=ONE_STEP_DB)
    weights = weights_in_float(graph)
    if (
        format == "tflite"
    ):  # computes frame by frame: nothing moves frames, and several operators read one weight
        assert weighted_in_file(file, format) == computing([weight.numpy() for weight in weights])
    else:
        assert weighted_in_file(file, format) == len(weights)


def test_executorch_keeps_one_partition(prepared, tmp_path):
    pytest.importorskip("executorch.exir")
    names = [*CASES["middle"], *CASES["squeeze-excite"], *CASES["last"]]
    graph, clip = reference_of(prepared, names), clips(1, 50)
    file = write(graph, clip, tmp_path, format="executorch", scheme="w8a8")
    with torch.no_grad():
        assert close(graph(clip), ANSWERS["executorch"](file.path, clip), db=ONE_STEP_DB)
    assert file.coverage.share == 1 and file.coverage.partitions == 1 and not file.coverage.left


def test_core_ml_stores_float_weights_of_these_layers(prepared, tmp_path):
    pytest.importorskip("coremltools")
    from export.emit.coreml.predict import open_package

    names = [*CASES["first"], *CASES["squeeze-excite"], *CASES["last"]]
    graph, clip = reference_of(prepared, names), clips(1, 50)
    file = write(graph, clip, tmp_path, format="coreml", scheme="w8a8")
    _, run = open_package(file.path)
    (given,) = run({"x": clip.numpy()}).values()
    with torch.no_grad():
        assert close(graph(clip), torch.from_numpy(given).float(), db=ONE_STEP_DB), "float16 activations"
    assert weighted_in_file(file, "coreml") == len(weights_in_float(graph))


def test_taps_of_a_float_layer_stay_float_where_onnx_runtime_fuses_others(prepared):
    clip = clips(1, 50)
    for names in ([], CASES["depthwise"]):
        graph = reference_of(prepared, names)
        fused = fuse(torch.export.export(graph, (clip,)))
        assert float_layers(fused) == tuple(names)
        with torch.no_grad():
            assert close(graph(clip), fused(clip), db=20)


def test_the_step_program_keeps_the_same_layers_in_float():
    model, stream = movinet()
    prepared = prepare(lower(capture(model, (stream[:1],))))
    calibrate(prepared, [(clip[None],) for clip in stream[:8]])
    names = ["stem.0", "blocks.0.body.2.conv", "blocks.1.excite.gate.2", "heads.classifiers.0"]
    network, first = step_network(model, stream[:1])
    program = capture(network, first)
    step = step_reference(prepared, program, float_layers=names)
    reference = reference_of(prepared, names)
    assert float_layers(step) == float_layers(reference) == tuple(names)
    with torch.no_grad():
        expected = torch.cat([reference(clip[None]) for clip in stream[8:]])
        module = step.module()
        given = [after_all_frames(module, network, first, clip[None]) for clip in stream[8:]]
    assert close(expected, torch.cat(given), db=30)


def test_the_ranking_of_layers_takes_a_mixed_reference(model, prepared):
    graph = reference_of(prepared, CASES["middle"])
    ranked = rank_layers(lower(capture(model, (clips(1, 0),))), graph, [(clips(1, 50),)])
    assert {"project.0", "expand.0"} <= {layer.layer for layer in ranked}
    costs = {layer.layer: layer.alone_sqnr_db for layer in ranked}
    assert costs["project.0"] > costs["expand.0"], "only the rounding of its result for the sum is left"
