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


def test_an_int8_file_runs_in_one_partition_and_gives_the_logits(tmp_path):
    from executorch.runtime import Runtime

    spec = clip_spec()
    graph = int8_graph(spec)
    file = written(tmp_path, spec, graph, "w8a8")
    assert file.notes[0].startswith("1 XNNPACK partition(s)")
    assert (file.coverage.share, file.coverage.partitions) == (1.0, 1)
    program = Runtime.get().load_program(file.path)
    method = program.load_method("forward")
    for seed in range(4):
        inputs = spec.example(seed=100 + seed)
        torch.testing.assert_close(method.execute(list(inputs))[0], graph(*inputs), rtol=0, atol=0.02)


def test_a_float_file_runs_describes_itself_and_names_what_is_left_behind(tmp_path):
    from executorch.runtime import Runtime

    spec = clip_spec(text=True, heads=2)
    graph = float_graph(spec)
    file = written(tmp_path, spec, graph, "fp32")
    assert "aten_embedding_default x1" in file.notes[1]
    program = Runtime.get().load_program(file.path)
    description = json.loads(program.load_method(DESCRIPTION_METHOD).execute([])[0])
    assert description["clip"]["frames"] == 4
    assert description["provenance"] == {"recipe": "small"}
    inputs = spec.example(seed=100)
    logits = program.load_method("forward").execute(list(inputs))
    for ours, theirs in zip(graph(*inputs), logits, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-5)
