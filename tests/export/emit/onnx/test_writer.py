import json
from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from export.capture.graph import capture  # noqa: E402
from export.capture.inputs import describe_outputs, parse_inputs  # noqa: E402
from export.emit.onnx.session import open_session  # noqa: E402
from export.emit.onnx.writer import OPSET, write  # noqa: E402
from export.manifest import FileSpec, file_spec  # noqa: E402
from tests.export.small_nets import clip_spec, float_graph, int8_graph, program_of  # noqa: E402

ALL_INPUTS = clip_spec(audio=True, text=True, heads=2)


def written(folder, spec, graph, scheme):
    requested = file_spec(spec, clip_layout="NCTHW", token_dtype="int64", provenance={"recipe": "small"})
    return write(program_of(graph, spec), folder / "model.onnx", spec=requested, scheme=scheme)


@pytest.fixture(scope="module")
def float_file(tmp_path_factory):
    graph = float_graph(ALL_INPUTS)
    return graph, written(tmp_path_factory.mktemp("float"), ALL_INPUTS, graph, "fp32")


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory):
    graph = int8_graph(ALL_INPUTS)
    return graph, written(tmp_path_factory.mktemp("int8"), ALL_INPUTS, graph, "w8a8")


def logits_of(file, inputs):
    session = open_session(file.path)
    feeds = dict(zip(ALL_INPUTS.inputs, (tensor.numpy() for tensor in inputs), strict=True))
    return session.run(list(ALL_INPUTS.outputs), feeds)


def test_a_float_file_gives_the_logits_of_the_network(float_file):
    graph, file = float_file
    inputs = ALL_INPUTS.example(seed=5)
    for ours, theirs in zip(graph(*inputs), logits_of(file, inputs), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-5)


def test_the_file_holds_its_names_shapes_and_description(float_file):
    _, file = float_file
    session = ort.InferenceSession(file.path)
    assert [(i.name, tuple(i.shape)) for i in session.get_inputs()] == [
        (i.name, i.shape) for i in file.inputs
    ]
    assert [(o.name, tuple(o.shape)) for o in session.get_outputs()] == [
        (o.name, o.shape) for o in file.outputs
    ]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"])[1] == {"name": "column1", "classes": ["left", "right"]}
    assert json.loads(metadata["clip"])["frames"] == 4
    assert json.loads(metadata["provenance"]) == {"recipe": "small"}


def test_opset_and_ir_version_are_those_that_old_runtimes_read(float_file):
    model = onnx.load(float_file[1].path)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": OPSET}
    assert model.ir_version <= 10


def test_the_file_does_not_reveal_the_machine_that_wrote_it(float_file):
    content = float_file[1].path.read_bytes()
    assert b".py" not in content and b"forward" not in content


def test_an_int8_file_runs_in_integer_kernels_from_end_to_end(int8_file, tmp_path):
    _, file = int8_file
    assert file.notes[0] == "uint8 activations, int8 weights; 10 of 10 layers in integers"
    assert file.notes[1] == f"needs {file.needs}"
    assert f"without which {len(file.saturating_layers)} of 10 layers can saturate" in file.needs
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(file.path, options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)
    assert (kinds["QLinearConv"], kinds["QGemm"]) == (8, 2)
    assert not {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "Clip", "Relu"} & set(kinds)


def test_an_int8_file_gives_the_logits_of_the_int8_network(int8_file):
    graph, file = int8_file
    for seed in range(8):
        inputs = ALL_INPUTS.example(seed=100 + seed)
        for ours, theirs in zip(graph(*inputs), logits_of(file, inputs), strict=True):
            # Kernels may round the last bit differently: a few steps of the logits' own quantization.
            np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=0.01)


def test_layers_that_stay_in_float_are_named(tmp_path):
    spec = clip_spec()
    file = written(tmp_path, spec, float_graph(spec), "w8a8")
    assert file.notes[0] == "uint8 activations, int8 weights; 0 of 8 layers in integers"
    assert file.notes[1].startswith("in float: Conv node_conv2d, ")


class ClashingNames(nn.Module):
    """Outputs and an input with names that torch gives to intermediate values."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        pooled = clip.mean((2, 3, 4))
        return {"mean": self.left(pooled), "linear": self.right(pooled), "other": pooled.softmax(-1)}


def test_names_of_inputs_and_outputs_are_theirs_alone(tmp_path):
    network, clip = ClashingNames(), torch.rand(1, 3, 2, 4, 4)
    spec = FileSpec(
        inputs=parse_inputs(["softmax=1x3x2x4x4"]),
        outputs=describe_outputs(network(clip)),
        classes=((),) * 3,
        description={},
    )
    file = write(capture(network, (clip,)), tmp_path / "model.onnx", spec=spec, scheme="fp32")
    given = ort.InferenceSession(file.path).run(["mean", "linear", "other"], {"softmax": clip.numpy()})
    for ours, theirs in zip(network(clip).values(), given, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-5)
