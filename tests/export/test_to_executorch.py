import json

import pytest
import torch

pytest.importorskip("executorch.exir")

from export.manifest import file_spec
from export.to_executorch import DESCRIPTION_METHOD, write
from tests.export.small_nets import clip_spec, float_graph, int8_graph, program_of

pytestmark = pytest.mark.slow


def written(tmp_path, spec, graph, scheme):
    requested = file_spec(spec, clip_layout="NCTHW", token_dtype="int64", provenance={"recipe": "small"})
    return write(program_of(graph, spec), tmp_path / "model.pte", spec=requested, scheme=scheme)


def loaded(path):
    from executorch.runtime import Runtime

    return Runtime.get().load_program(path)


@pytest.mark.parametrize(
    ("scheme", "make", "atol"), [("fp32", float_graph, 1e-5), ("w8a8", int8_graph, 0.03)]
)
def test_the_file_runs_in_one_partition_and_gives_the_logits(tmp_path, scheme, make, atol):
    spec = clip_spec()
    graph = make(spec)
    file = written(tmp_path, spec, graph, scheme)
    assert file.notes[0].startswith("1 XNNPACK partition(s)")
    method = loaded(file.path).load_method("forward")
    for seed in range(4):
        inputs = spec.example(seed=100 + seed)
        torch.testing.assert_close(method.execute(list(inputs))[0], graph(*inputs), rtol=0, atol=atol)


def test_the_file_describes_itself_and_names_what_is_left_behind(tmp_path):
    spec = clip_spec(text=True, heads=2)
    graph = float_graph(spec)
    file = written(tmp_path, spec, graph, "fp32")
    assert "aten_embedding_default x1" in file.notes[1]
    program = loaded(file.path)
    description = json.loads(program.load_method(DESCRIPTION_METHOD).execute([])[0])
    assert description["clip"]["frames"] == 4
    assert description["provenance"] == {"recipe": "small"}
    logits = program.load_method("forward").execute(list(spec.example()))
    assert [tuple(tensor.shape) for tensor in logits] == [(1, 5), (1, 2)]
