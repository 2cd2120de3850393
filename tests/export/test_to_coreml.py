import json
from collections import Counter

import pytest

ct = pytest.importorskip("coremltools")

from export.manifest import file_spec  # noqa: E402
from export.to_coreml import write  # noqa: E402
from tests.export.small_nets import clip_spec, float_graph, int8_graph, program_of  # noqa: E402


def written(tmp_path, spec, graph, scheme):
    requested = file_spec(spec, clip_layout="NCTHW", token_dtype="int32", provenance={"recipe": "small"})
    return write(program_of(graph, spec), tmp_path / "model.mlpackage", spec=requested, scheme=scheme)


def operations(path):
    function = ct.utils.load_spec(str(path)).mlProgram.functions["main"]
    (block,) = function.block_specializations.values()
    return Counter(operation.type for operation in block.operations)


@pytest.mark.slow
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


@pytest.mark.parametrize(("scheme", "precision"), [("fp32", "float32"), ("fp16", "float16")])
def test_float_packages_compute_in_the_precision_of_the_scheme(tmp_path, scheme, precision):
    spec = clip_spec()
    file = written(tmp_path, spec, float_graph(spec), scheme)
    kinds = operations(file.path)
    assert kinds["conv"] == 7
    assert (kinds["cast"] > 0) == (precision == "float16")
    assert precision in file.notes[0]


def test_noise_about_versions_is_silent_and_warnings_about_the_network_are_not(caplog):
    import logging

    from export.to_coreml import _import_quietly

    _import_quietly()
    log = logging.getLogger("coremltools")
    log.warning("Torch version 9.9 has not been tested with coremltools. You may run into unexpected errors.")
    log.warning("Output, 'logits', has no name.")
    assert [record.getMessage() for record in caplog.records] == ["Output, 'logits', has no name."]


@pytest.mark.slow
def test_an_int8_package_quantizes_every_activation_and_stores_int8_weights(tmp_path):
    spec = clip_spec()
    kinds = operations(written(tmp_path, spec, int8_graph(spec), "w8a8").path)
    assert kinds["conv"] + kinds["linear"] == 8
    assert kinds["constexpr_affine_dequantize"] == 9, "the weights of each layer, and the mean of the clip"
    assert kinds["quantize"] >= 14 and kinds["dequantize"] >= 14
