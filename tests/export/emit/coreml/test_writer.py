import json
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

ct = pytest.importorskip("coremltools")

from coremltools.converters.mil import Builder  # noqa: E402

from compress.pruning.masks import masks_of, prunable_weights  # noqa: E402
from export.capture.graph import capture  # noqa: E402
from export.emit.coreml import sparse  # noqa: E402
from export.emit.coreml.predict import open_package  # noqa: E402
from export.emit.coreml.writer import write  # noqa: E402
from export.lower import lower  # noqa: E402
from export.manifest import file_spec, size_bytes_of  # noqa: E402
from export.quantize.weight_only import store_weights  # noqa: E402
from tests.export.networks import conv, trained  # noqa: E402
from tests.export.small_nets import clip_spec, float_graph, int8_graph, program_of  # noqa: E402

pytestmark = pytest.mark.slow


def written(tmp_path, spec, graph, scheme):
    requested = file_spec(spec, clip_layout="NCTHW", token_dtype="int32", provenance={"recipe": "small"})
    return write(program_of(graph, spec), tmp_path / "model.mlpackage", spec=requested, scheme=scheme)


def operations(path):
    function = ct.utils.load_spec(str(path)).mlProgram.functions["main"]
    (block,) = function.block_specializations.values()
    return Counter(operation.type for operation in block.operations)


def outputs_of(file, inputs):
    _, run = open_package(file.path)
    given = run({info.name: value.numpy() for info, value in zip(file.inputs, inputs, strict=True)})
    return [given[info.name] for info in file.outputs]


def test_the_same_network_gives_the_same_bytes(tmp_path):
    spec = clip_spec()
    found = []
    for name in ("a", "b"):
        file = written(tmp_path / name, spec, float_graph(spec), "fp16")
        Builder.name_count["cast"] += 1  # As a conversion that fails leaves it.
        paths = sorted(path for path in file.path.rglob("*") if path.is_file())
        found.append({str(path.relative_to(file.path)): path.read_bytes() for path in paths})
    assert found[0] == found[1] and len(found[0]) > 2


class Layers(nn.Module):
    """A convolution over frames, pictures and one kernel per channel, and an LSTM over frames."""

    def __init__(self):
        super().__init__()
        self.convs = nn.Sequential(conv(3, 32, 3), nn.ReLU(), conv(32, 64, 1), nn.ReLU())
        self.steps = nn.LSTM(64, 32, batch_first=True)
        self.logits = nn.Linear(32, 3)

    def forward(self, clip):
        steps = self.convs(clip).mean((3, 4)).transpose(1, 2)
        return self.logits(self.steps(steps)[0][:, -1])


@pytest.mark.parametrize(("scheme", "pattern"), [("fp32", "unstructured"), ("fp16", "2:4")])
def test_weights_with_many_zeros_are_stored_sparsely_and_numbers_stay(tmp_path, monkeypatch, scheme, pattern):
    spec, network = clip_spec(), trained(Layers())
    weights = prunable_weights(network, {network.logits})
    for name, mask in masks_of(weights, pattern=pattern, sparsity=0.8, by_layer=True).items():
        weights[name].data *= mask
    graph = lower(capture(network, spec.example()))
    file = written(tmp_path / "sparse", spec, graph, scheme)
    monkeypatch.setattr(sparse, "SCHEMES", ())
    dense = written(tmp_path / "dense", spec, graph, scheme)
    count = operations(file.path)["constexpr_sparse_to_dense"]
    assert count == 2 + 1, (
        "two weights of the LSTM, one 3D convolution; the others have 2,048 values or fewer"
    )
    assert operations(dense.path)["constexpr_sparse_to_dense"] == 0
    assert f"{count} weights are stored sparsely" in " ".join(file.notes)
    values = sum(weight.numel() for weight in weights.values() if weight.numel() > 2_048)
    blobs = [next(one.path.rglob("weight.bin")).stat().st_size for one in (file, dense)]
    zeros = {"unstructured": 0.8, "2:4": 0.5}[pattern] * (4 if scheme == "fp32" else 2)
    assert blobs[1] - blobs[0] == pytest.approx((zeros - 1 / 8) * values, rel=0.05)
    assert size_bytes_of(file.path) < size_bytes_of(dense.path)
    inputs = spec.example()
    for one, two in zip(outputs_of(file, inputs), outputs_of(dense, inputs), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_package_of_a_network_without_zeros_has_no_sparse_weights(tmp_path):
    spec = clip_spec()
    file = written(tmp_path, spec, float_graph(spec), "fp16")
    assert operations(file.path)["constexpr_sparse_to_dense"] == 0
    assert not any("sparsely" in note for note in file.notes)


def test_the_package_holds_names_shapes_types_and_description(tmp_path):
    spec = clip_spec(audio=True, text=True, heads=2)
    file = written(tmp_path, spec, float_graph(spec), "fp32")
    saved = ct.utils.load_spec(str(file.path))
    types = {"float32": 65568, "int32": 131104}
    found = [
        (i.name, tuple(i.type.multiArrayType.shape), i.type.multiArrayType.dataType)
        for i in saved.description.input
    ]
    assert found == [(info.name, info.shape, types[info.dtype]) for info in file.inputs]
    assert [output.name for output in saved.description.output] == list(spec.outputs)
    assert "normalised by the file" in saved.description.input[0].shortDescription
    assert "left, right, up" in saved.description.output[0].shortDescription
    metadata = saved.description.metadata.userDefined
    assert json.loads(metadata["labels"])[0]["classes"][0] == "left"
    assert json.loads(metadata["provenance"]) == {"recipe": "small"}
    example = spec.example(seed=1)
    for given, wanted in zip(outputs_of(file, example), float_graph(spec)(*example), strict=True):
        assert np.abs(given - wanted.detach().numpy()).max() <= 1e-6 * wanted.abs().max()
    assert "batch_norm" not in operations(file.path), "whose epsilon changes x * a + b"


@pytest.mark.parametrize(
    ("scheme", "precision", "tolerance"), [("fp32", "float32", 1e-5), ("fp16", "float16", 5e-3)]
)
def test_float_packages_compute_in_the_precision_of_the_scheme(tmp_path, scheme, precision, tolerance):
    spec = clip_spec()
    graph = float_graph(spec)
    file = written(tmp_path, spec, graph, scheme)
    kinds = operations(file.path)
    assert kinds["conv"] == 7
    assert (kinds["cast"] > 0) == (precision == "float16")
    assert file.notes == (f"ML program for iOS 17 / macOS 14 and later, computes in {precision}",)
    assert file.coverage is not None and file.coverage.share == (precision == "float16")
    (given,), wanted = outputs_of(file, spec.example(seed=1)), graph(*spec.example(seed=1)).detach()
    assert np.abs(given - wanted.numpy()).max() <= tolerance * wanted.abs().max()


def test_an_int8_package_gives_what_the_int8_reference_gives(tmp_path):
    spec = clip_spec()
    graph = int8_graph(spec)
    file = written(tmp_path, spec, graph, "w8a8")
    kinds = operations(file.path)
    assert kinds["conv"] + kinds["linear"] == 8
    assert kinds["constexpr_affine_dequantize"] == 9, "the weights of each layer, and the mean of the clip"
    assert kinds["quantize"] >= 14 and kinds["dequantize"] >= 14
    quantize = [n for n in graph.graph.nodes if "quantize_per_tensor.default" in str(n.target)]
    step = max(node.args[1] for node in quantize[-2:])
    for seed in range(1, 4):
        (given,), wanted = outputs_of(file, spec.example(seed=seed)), graph(*spec.example(seed=seed))
        assert np.abs(given - wanted.detach().numpy()).max() <= 1.01 * step, "one step of the logits"


@pytest.mark.parametrize(
    ("scheme", "system", "kind"),
    [("w8", "iOS 17", "constexpr_affine_dequantize"), ("w4", "iOS 18", "constexpr_blockwise_shift_scale")],
)
def test_weights_are_stored_as_they_were_rounded(tmp_path, scheme, system, kind):
    spec = clip_spec(frames=4, size=12)
    net = nn.Sequential(
        conv(3, 8, 1, act=nn.ReLU),
        conv(8, 40, (1, 3, 3)),
        conv(40, 6, 1),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
    )
    stored = store_weights(lower(capture(trained(net), spec.example())), scheme=scheme)
    file = written(tmp_path, spec, stored, scheme)
    assert operations(file.path)[kind] == 2, "the first layer has too few weights to be worth it"
    assert file.notes[0].startswith(f"ML program for {system} / macOS")
    (given,), wanted = outputs_of(file, spec.example(seed=1)), stored(*spec.example(seed=1))
    assert np.abs(given - wanted.detach().numpy()).max() <= 5e-3 * wanted.abs().max()


def test_an_unknown_scheme_is_refused(tmp_path):
    spec = clip_spec()
    with pytest.raises(ValueError, match=r"scheme 'w2' for \.mlpackage files: choose one of fp32, fp16"):
        written(tmp_path, spec, float_graph(spec), "w2")


def test_a_user_network_without_class_names_is_written(tmp_path):
    from export.capture.inputs import parse_inputs
    from export.manifest import FileSpec, TensorInfo

    program = capture(nn.Conv2d(3, 2, 3), (torch.rand(1, 3, 8, 8),))
    spec = FileSpec(
        inputs=parse_inputs(["1x3x8x8"]),
        outputs=(TensorInfo(name="map", shape=(1, 2, 6, 6), dtype="float32", layout="NCHW"),),
        classes=((),),
        description={},
    )
    file = write(program, tmp_path / "model.mlpackage", spec=spec, scheme="fp32")
    (given,) = outputs_of(file, (torch.ones(1, 3, 8, 8),))
    assert given.shape == (1, 2, 6, 6)
    (output,) = ct.utils.load_spec(str(file.path)).description.output
    assert output.shortDescription == "float32 NCHW 1x2x6x6"
