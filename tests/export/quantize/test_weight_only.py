"""Schemes `fp16`, `w8`, `w4`: stored weights, file sizes, and outputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import torchao.quantization.pt2e  # noqa: F401  registers torch.ops.quantized_decomposed
from torch import Tensor, fx, nn

from export import EXPORTERS
from export.capture.graph import capture
from export.files import check_formats
from export.job import Job
from export.job import write as write_job
from export.lower import lower
from export.manifest import FileSpec, TensorInfo
from export.quantize.grid import LIMITS, scale_of_least_error
from export.quantize.weight_only import store_weights
from export.trial import FLOAT, REFERENCE, Trial
from export.verify.acceptance import check_parity
from export.verify.execute import execute
from export.verify.parity import SQNR_LIMIT_DB, compare
from tests.export.networks import Function, conv, trained
from tests.export.operators import OPERATORS

pytestmark = pytest.mark.slow

READ = torch.ops.quantized_decomposed.dequantize_per_channel.default

MOST = {"fp16": 0.54, "w8": 0.31, "w4": 0.19}
"""Largest size of a file of `Small`, relative to the float file; names and description take little space."""


class Small(nn.Module):
    """Dense convolutions, a pointwise and a depthwise one: the layers with nearly all weights of video networks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(3, 48, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), act=nn.ReLU6),
            conv(48, 64, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), act=nn.ReLU6),
            conv(64, 64, 3, padding=1, act=nn.ReLU6),
            conv(64, 256, 1, act=nn.ReLU6),
            conv(256, 256, (1, 3, 3), padding=(0, 1, 1), groups=256, act=nn.ReLU6),
        )
        self.classifier = nn.Linear(256, 10)

    def forward(self, clip: Tensor) -> Tensor:
        return self.classifier(self.layers(clip).mean((2, 3, 4)))


def clips(seed: int) -> Tensor:
    return torch.rand(1, 3, 4, 16, 16, generator=torch.Generator().manual_seed(seed))


SPEC = FileSpec(
    inputs=(TensorInfo(name="clip", shape=(1, 3, 4, 16, 16), dtype="float32", layout="NCTHW"),),
    outputs=(TensorInfo(name="logits", shape=(1, 10), dtype="float32", layout="NK"),),
    classes=(tuple("abcdefghij"),),
    description={},
)


@pytest.fixture(scope="module")
def graph() -> fx.GraphModule:
    return lower(capture(trained(Small()), (clips(0),)))


@pytest.fixture(scope="module")
def files(tmp_path_factory, graph):
    """`files(format, scheme)`: the file of `graph`, its spec and the graph with its weights; written once."""
    known: dict[tuple[str, str], tuple[Path, FileSpec, fx.GraphModule]] = {}

    def written(name: str, scheme: str) -> tuple[Path, FileSpec, fx.GraphModule]:
        if (name, scheme) not in known:
            exporter = EXPORTERS[name]
            stored = graph if scheme == "fp32" else store_weights(graph, scheme=scheme)
            path = tmp_path_factory.mktemp(f"{name}_{scheme}") / f"model{exporter.extension}"
            spec = SPEC.arranged(clip_layout=exporter.clip_layout, token_dtype=exporter.token_dtype)
            program = torch.export.export(stored, (clips(0),))
            import_module(exporter.module).write(program, path, spec=spec, scheme=scheme)
            known[name, scheme] = path, spec, stored
        return known[name, scheme]

    return written


def sqnr_db(path: Path, spec: FileSpec, network: fx.GraphModule, folder: Path, name: str) -> float:
    """SQNR of a file against a network on four clips."""
    inputs = np.stack([clips(seed).numpy() for seed in range(4)])
    np.save(folder / "clip.npy", inputs)
    executed = execute(path, format=name, network=SPEC, file=spec, samples=folder, log=folder / "log")
    assert executed.outputs is not None, executed.reason
    with torch.no_grad():
        wanted = np.stack([network(torch.from_numpy(clip)).numpy() for clip in inputs])
    return compare(wanted, executed.outputs[0]).sqnr_db


def stored_bits(graph: fx.GraphModule) -> dict[str, int]:
    """Layer -> bits of its weight, from the limits of its dequantize operator."""
    bits = {limits: bits for bits, limits in LIMITS.items()}
    return {
        node.name: bits[node.args[1].args[4:6]]
        for node in graph.graph.nodes
        if len(node.args) > 1 and isinstance(node.args[1], fx.Node) and node.args[1].target is READ
    }


def test_w8_weights_are_rounded_per_channel_and_the_graph_given_stays_as_it_is(graph):
    before = {name: tensor.clone() for name, tensor in graph.state_dict().items()}
    stored = store_weights(graph, scheme="w8")
    assert set(stored_bits(stored).values()) == {8} and len(stored_bits(stored)) == 6
    for node in stored.graph.nodes:
        if node.target is READ:
            numbers, scale, zero_point = (getattr(stored, source.target) for source in node.args[:3])
            weight = before[node.args[0].target.removesuffix("_int8")]
            error = (weight - READ(numbers, scale, zero_point, *node.args[3:])).flatten(1).abs().amax(1)
            assert numbers.dtype is torch.int8 and numbers.flatten(1).abs().amax(1).eq(127).all()
            assert bool((error <= scale * 0.5001).all())
    assert all(torch.equal(tensor, before[name]) for name, tensor in graph.state_dict().items())


def test_w4_leaves_the_layers_at_the_edges_and_depthwise_ones_at_8_bits(graph):
    bits = stored_bits(store_weights(graph, scheme="w4"))
    assert bits == {"conv3d": 8, "conv3d_1": 4, "conv3d_2": 4, "conv3d_3": 4, "conv3d_4": 8, "linear": 8}


def test_the_scale_of_4_bits_leaves_less_error_than_the_widest_one():
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    weight[0] = 0

    def error(scale: Tensor) -> Tensor:
        steps = (weight / scale[:, None]).round().clamp(-7, 7)
        return (weight - steps * scale[:, None]).square().sum(1)

    best, widest = scale_of_least_error(weight, limit=7), weight.abs().amax(1) / 7
    assert bool((error(best)[1:] <= error(widest)[1:]).all())
    assert error(best).sum() < 0.9 * error(widest)[1:].sum()
    assert best[0] == 1 and error(best)[0] == 0


def test_fp16_weights_are_values_of_float16(graph):
    for tensor in store_weights(graph, scheme="fp16").state_dict().values():
        assert torch.equal(tensor, tensor.half().float())


def test_a_weight_read_twice_is_stored_once():
    layer = nn.Conv2d(8, 8, 3, padding=1)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), layer, nn.ReLU(), layer, nn.ReLU(), nn.Conv2d(8, 8, 1))
    stored = store_weights(lower(capture(net, (torch.rand(1, 3, 8, 8),))), scheme="w4")
    assert list(stored_bits(stored).values()) == [8, 4, 4, 8]
    assert sum(node.target is READ for node in stored.graph.nodes) == 3


def test_what_float16_cannot_hold_is_refused(graph):
    large = lower(capture(nn.Linear(2, 2), (torch.zeros(1, 2),)))
    next(large.parameters()).data[0] = 1e6
    with pytest.raises(
        ValueError, match=r"holds values up to 1e\+06, and float16 ends at 65504; use the scheme"
    ):
        store_weights(large, scheme="fp16")


@torch.no_grad()
@pytest.mark.parametrize("name", ["onnx", "tflite"])
@pytest.mark.parametrize("masked", ["causal attention", "masked attention"])
def test_masks_beyond_float16_stay_as_they_are(tmp_path, masked, name):
    from importlib import import_module

    exporter = EXPORTERS[name]
    clip = torch.rand(1, 3, 8, 12, 10)
    stored = store_weights(lower(capture(OPERATORS[masked]().eval(), (clip,))), scheme="fp16")
    program = torch.export.export(stored, (clip,))
    wanted = stored(clip).numpy()
    spec = FileSpec(
        inputs=(replace(SPEC.inputs[0], shape=tuple(clip.shape)),),
        outputs=(
            TensorInfo(name="tokens", shape=wanted.shape, dtype="float32", layout="NCTH"[: wanted.ndim]),
        ),
        classes=((),),
        description={},
    )
    file = spec.arranged(clip_layout=exporter.clip_layout, token_dtype=exporter.token_dtype)
    path = tmp_path / f"model{exporter.extension}"
    import_module(exporter.module).write(program, path, spec=file, scheme="fp16")
    np.save(tmp_path / "clip.npy", clip[None].numpy())
    executed = execute(path, format=name, network=spec, file=file, samples=tmp_path, log=tmp_path / "log")
    assert executed.outputs is not None, executed.reason
    assert compare(wanted[None], executed.outputs[0]).sqnr_db > 100


def test_other_schemes_are_refused(graph):
    with pytest.raises(ValueError, match="'w8a8' is not weight-only; allowed: fp16, w8, w4"):
        store_weights(graph, scheme="w8a8")
    with pytest.raises(
        ValueError, match="'executorch' does not support scheme 'fp16'; it supports fp32, w8a8, w8, w4"
    ):
        check_formats(["executorch"], ["fp16"])


@pytest.mark.parametrize("scheme", MOST)
@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_files_are_small_and_compute_what_torch_does_with_their_weights(files, tmp_path, name, scheme):
    whole, _, _ = files(name, "fp32")
    path, spec, stored = files(name, scheme)
    assert path.stat().st_size < MOST[scheme] * whole.stat().st_size
    exact = 40 if (name, scheme) == ("tflite", "w4") else 100  # its int4 kernels round activations
    assert exact < sqnr_db(path, spec, stored, tmp_path, name) <= SQNR_LIMIT_DB


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("onnx", "w8"),
        ("tflite", "w8"),
        ("tflite", "w4"),
        pytest.param("executorch", "w8", marks=pytest.mark.slow),
        pytest.param("executorch", "w4", marks=pytest.mark.slow),
    ],
)
def test_convolutions_over_time_are_stored_too(tmp_path, name, scheme):
    layers = nn.Conv1d(3, 16, 3), nn.Conv1d(16, 24, 3, padding=1), nn.Conv1d(24, 24, 5, padding=2, groups=24)
    net = Function(
        lambda x, *layers: nn.Sequential(*layers)(x.mean((3, 4))).mean(2), *layers, nn.Conv1d(24, 10, 1)
    )
    stored = store_weights(lower(capture(trained(net), (clips(0),))), scheme=scheme)
    dense = int(scheme.removeprefix("w"))
    assert stored_bits(stored) == {"conv1d": 8, "conv1d_1": dense, "conv1d_2": 8, "conv1d_3": 8}
    exporter = EXPORTERS[name]
    path = tmp_path / f"model{exporter.extension}"
    spec = SPEC.arranged(clip_layout=exporter.clip_layout, token_dtype=exporter.token_dtype)
    program = torch.export.export(stored, (clips(0),))
    import_module(exporter.module).write(program, path, spec=spec, scheme=scheme)
    exact = 30 if (name, scheme) == ("tflite", "w4") else 100  # its int4 kernels round activations
    assert sqnr_db(path, spec, stored, tmp_path, name) > exact


@pytest.mark.parametrize("scheme", MOST)
def test_onnx_runtime_expands_weights_when_it_loads_a_file(files, tmp_path, scheme):
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(files("onnx", scheme)[0], options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    assert not {"Cast", "Mul", "DequantizeLinear"} & set(kinds)


def test_litert_computes_in_one_partition_or_with_int4_kernels(files):
    from export.verify.coverage.litert_file import read_file

    for scheme in ("fp16", "w8"):
        assert {operator.partition for operator in read_file(files("tflite", scheme)[0])} == {0}
    operators = read_file(files("tflite", "w4")[0])
    outside = Counter(operator.kind for operator in operators if operator.partition is None)
    assert set(outside) == {"CONV_2D"}, "dense convolutions only"
    assert sum(operator.kind == "FULLY_CONNECTED" for operator in operators) == 2, "the pointwise one too"


def test_executorch_rounds_activations_while_running(graph, files, tmp_path):
    path, spec, stored = files("executorch", "w8")
    assert path.stat().st_size < 0.4 * 4 * sum(weight.numel() for weight in graph.parameters())
    assert sqnr_db(path, spec, stored, tmp_path, "executorch") > 35
    with pytest.raises(
        ValueError,
        match=r"conv2d at .*test_weight_only.py:\d+ .* would have 4-bit weights: .* use the scheme w8",
    ):
        files("executorch", "w4")


@pytest.fixture(scope="module")
def linear_layers():
    """A lowered network of four linear layers, its spec, and three inputs."""
    torch.manual_seed(0)
    net = nn.Sequential(*[nn.Linear(64, 64) if i % 2 == 0 else nn.ReLU() for i in range(7)])
    info = replace(SPEC.outputs[0], shape=(1, 64))
    spec = replace(SPEC, inputs=(replace(info, name="rows"),), outputs=(info,), classes=((),))
    rows = np.random.default_rng(0).random((3, 1, 64), np.float32)
    return lower(capture(net, (torch.rand(1, 64),))), spec, rows


@pytest.mark.parametrize(
    ("name", "group_size"),
    [("executorch", None), ("executorch", 32), ("tflite", 32), ("onnx", 32), ("coreml", 32)],
)
def test_linear_layers_of_4_bits_have_the_weights_of_torch(tmp_path, linear_layers, name, group_size):
    graph, spec, rows = linear_layers
    stored = store_weights(graph, scheme="w4", group_size=group_size)
    exporter = EXPORTERS[name]
    path = tmp_path / f"model{exporter.extension}"
    program = torch.export.export(stored, (torch.rand(1, 64),))
    import_module(exporter.module).write(program, path, spec=spec, scheme="w4")
    np.save(tmp_path / "rows.npy", rows)
    executed = execute(path, format=name, network=spec, file=spec, samples=tmp_path, log=tmp_path / "log")
    assert executed.outputs is not None, executed.reason
    wanted = np.stack([stored(torch.from_numpy(row)).detach().numpy() for row in rows])
    least = {"executorch": 30, "tflite": 30, "onnx": 100, "coreml": 50}[
        name
    ]  # two round activations, one is float16
    assert compare(wanted, executed.outputs[0]).sqnr_db > least
    if name != "coreml":
        two_of_four_layers = 2 * 64 * 64 // 2 + 2 * 64 * 64 + (0 if group_size is None else 2 * 64 * 2 * 2)
        assert path.stat().st_size < two_of_four_layers + 12_000


def test_onnx_and_core_ml_take_groups_in_convolutions_and_others_refuse_them(graph, tmp_path):
    stored = store_weights(graph, scheme="w4", group_size=64)
    program = torch.export.export(stored, (clips(0),))
    spec = SPEC.arranged(clip_layout="NTHWC", token_dtype="int32")
    why = r"int4 weights of shape 64x48x3x3 in groups of 54, for which LiteRT has kernels in linear layers and .*"
    with pytest.raises(
        NotImplementedError, match=rf"test_weight_only.py:\d+.*{why}use w4 without group_size"
    ):
        import_module("export.emit.tflite.writer").write(
            program, tmp_path / "a.tflite", spec=spec, scheme="w4"
        )
    why = "would have 4-bit weights: ExecuTorch has kernels for them in linear layers only"
    with pytest.raises(ValueError, match=rf"conv2d at .*test_weight_only.py:\d+ .* {why}"):
        import_module("export.emit.executorch.writer").write(
            program, tmp_path / "a.pte", spec=SPEC, scheme="w4"
        )
    path = tmp_path / "model.onnx"
    import_module("export.emit.onnx.writer").write(program, path, spec=SPEC, scheme="w4")
    assert sqnr_db(path, SPEC, stored, tmp_path, "onnx") > 100


def test_groups_that_are_no_multiples_of_32_are_refused_where_kernels_need_that(linear_layers, tmp_path):
    graph, spec, _ = linear_layers
    stored = store_weights(graph, scheme="w4", group_size=16)
    program = torch.export.export(stored, (torch.rand(1, 64),))
    for name, error, why in (
        (
            "tflite",
            NotImplementedError,
            "in groups of 16, for which LiteRT has .* multiples of 32: use w4 without",
        ),
        (
            "executorch",
            ValueError,
            "in groups of 16: ExecuTorch has kernels for multiples of 32 only; use w4 with",
        ),
    ):
        write = import_module(EXPORTERS[name].module).write
        with pytest.raises(error, match=why):
            write(program, tmp_path / "model", spec=spec, scheme="w4")


def test_files_are_compared_with_torch_outputs_for_their_weights(graph, tmp_path):
    inputs = {"clip": np.stack([clips(seed).numpy() for seed in range(3)])}
    with torch.no_grad():
        outputs = np.stack([graph(torch.from_numpy(clip)).numpy() for clip in inputs["clip"]])
    trial = Trial(inputs=inputs, source="clips", outputs={FLOAT: (outputs,)})
    trial.save(tmp_path)
    program = tmp_path / "program.pt2"
    torch.export.save(capture(trained(Small()), (clips(0),)), program)
    path = tmp_path / "model.tflite"
    spec = SPEC.arranged(clip_layout="NTHWC", token_dtype="int32")
    job = Job(
        module="export.emit.tflite.writer", program=program, path=path, spec=spec, scheme="w8",
        lowering="export.lower", stored=True, samples=tmp_path,
    )  # fmt: skip
    written = write_job(job)
    assert written.reference_outputs is not None
    executed = execute(path, format="tflite", network=SPEC, file=spec, samples=tmp_path, log=tmp_path / "log")
    checked = check_parity(
        executed, trial.with_outputs({REFERENCE: written.reference_outputs}), scheme="w8", outputs=["logits"]
    )
    assert (
        checked.wrong is None
        and checked.against[REFERENCE][0].sqnr_db > 100 > checked.against[FLOAT][0].sqnr_db
    )
    other = trial.with_outputs({REFERENCE: (np.roll(written.reference_outputs[0], 1, axis=2),)})
    checked = check_parity(executed, other, scheme="w8", outputs=["logits"])
    assert checked.wrong is not None and "the network with the stored weights" in checked.wrong


def test_an_unlowered_network_is_rounded_too():
    given = capture(trained(Small()), (clips(0),)).module(check_guards=False)
    stored = store_weights(given, scheme="w4")
    assert list(stored_bits(stored).values()) == [8, 4, 4, 4, 8, 8]
    with torch.no_grad():
        assert not any("classifier.weight" in name for name, _ in stored.named_parameters())
        assert compare(given(clips(1)).numpy(), stored(clips(1)).numpy()).sqnr_db > 15
