import json

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from export.manifest import file_spec  # noqa: E402
from export.to_onnx import OPSET, write  # noqa: E402
from tests.export.small_nets import clip_spec, float_graph, int8_graph, program_of  # noqa: E402


def written(tmp_path, spec, graph, scheme):
    requested = file_spec(spec, clip_layout="NCTHW", token_dtype="int64", provenance={"recipe": "small"})
    return write(program_of(graph, spec), tmp_path / "model.onnx", spec=requested, scheme=scheme)


def logits_of(path, spec, inputs):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(list(spec.outputs), dict(zip(spec.inputs, (t.numpy() for t in inputs), strict=True)))


def test_a_float_file_gives_the_logits_of_the_network(tmp_path):
    spec = clip_spec(audio=True, text=True, heads=2)
    graph = float_graph(spec)
    file = written(tmp_path, spec, graph, "fp32")
    inputs = spec.example(seed=5)
    for ours, theirs in zip(graph(*inputs), logits_of(file.path, spec, inputs), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-5)


def test_the_file_holds_its_names_shapes_and_description(tmp_path):
    spec = clip_spec(audio=True, text=True, heads=2)
    file = written(tmp_path, spec, float_graph(spec), "fp32")
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


def test_opset_and_ir_version_are_those_that_old_runtimes_read(tmp_path):
    spec = clip_spec()
    model = onnx.load(written(tmp_path, spec, float_graph(spec), "fp32").path)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": OPSET}
    assert model.ir_version <= 10


def test_the_file_tells_nothing_about_the_machine_that_wrote_it(tmp_path):
    spec = clip_spec()
    content = written(tmp_path, spec, float_graph(spec), "fp32").path.read_bytes()
    assert b".py" not in content and b"forward" not in content


def test_an_int8_file_runs_in_integer_kernels_from_end_to_end(tmp_path):
    spec = clip_spec()
    file = written(tmp_path, spec, int8_graph(spec, blocks=2), "w8a8")
    assert file.notes == ("uint8 activations, int8 weights; 14 of 14 layers in integers",)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(file.path, options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
    assert kinds.count("QLinearConv") == 13
    assert kinds.count("QGemm") == 1
    assert not {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul"} & set(kinds)


def test_an_int8_file_gives_the_logits_of_the_int8_network(tmp_path):
    spec = clip_spec(audio=True, text=True)
    graph = int8_graph(spec)
    file = written(tmp_path, spec, graph, "w8a8")
    for seed in range(8):
        inputs = spec.example(seed=100 + seed)
        ours, theirs = graph(*inputs).detach().numpy(), logits_of(file.path, spec, inputs)[0]
        # One step of the logits' own quantization is about 0.01; kernels may round the last bit another way.
        np.testing.assert_allclose(ours, theirs, atol=0.03)
