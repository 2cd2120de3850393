import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytest.importorskip("executorch.exir")

from export.capture.graph import capture
from export.emit.executorch.writer import DESCRIPTION_METHOD, write
from export.lower import lower
from export.manifest import file_spec
from export.quantize.int8_reference import calibrate, convert, prepare
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


class RunningMean(nn.Module):
    """Operators that ExecuTorch decomposes with copies: a matrix product, and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.last = nn.Conv3d(3, 8, 3, padding=1), nn.Conv3d(8, 8, 1), nn.Linear(8, 10)

    def forward(self, clip):
        frames = clip.shape[2]
        x = self.first(clip).relu()
        means = x.mean((3, 4)) @ (torch.ones(frames, frames).triu() / torch.arange(1, frames + 1))
        return self.last((x * F.hardsigmoid(self.gate(means[..., None, None]))).mean((2, 3, 4)))


def test_copies_that_change_nothing_do_not_split_the_partition(tmp_path):
    from executorch.runtime import Runtime

    spec, network = clip_spec(), RunningMean().eval()
    inputs = spec.example(seed=1)
    lowered = lower(capture(network, inputs))
    file = written(tmp_path, spec, lowered, "fp32")
    assert (file.coverage.share, file.coverage.partitions) == (1.0, 1)
    (logits,) = Runtime.get().load_program(file.path).load_method("forward").execute(list(inputs))
    torch.testing.assert_close(logits, network(*inputs), rtol=0, atol=1e-5)


class Recurrent(nn.Module):
    """An LSTM, whose state begins as a constant, and a constant that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.rows, self.last = (
            nn.Conv3d(3, 8, 3),
            nn.LSTM(8, 16, batch_first=True),
            nn.Linear(16, 10),
        )
        self.register_buffer("positions", torch.linspace(-0.3, 0.4, 8))

    def forward(self, clip):
        return self.last(self.rows(self.first(clip).relu().mean((3, 4)).mT + self.positions)[0][:, -1])


def test_int8_constants_are_read_as_the_reference_has_them(tmp_path):
    from executorch.runtime import Runtime

    torch.manual_seed(0)
    spec = clip_spec()
    prepared = prepare(lower(capture(Recurrent().eval(), spec.example())))
    calibrate(prepared, [spec.example(seed=sample) for sample in range(4)])
    reference = convert(prepared)
    file = written(tmp_path, spec, reference, "w8a8")
    method = Runtime.get().load_program(file.path).load_method("forward")
    for seed in range(4):
        inputs = spec.example(seed=100 + seed)
        torch.testing.assert_close(method.execute(list(inputs))[0], reference(*inputs), rtol=0, atol=0.004)
