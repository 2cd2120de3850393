import numpy as np
import pytest
import torch
from torch import nn

from export.capture.graph import capture
from export.capture.inputs import parse_inputs
from export.emit.coreml.interpret import open_program, run_program
from export.emit.coreml.predict import open_package
from export.emit.coreml.saved import read_program
from export.emit.coreml.writer import write
from export.lower import lower
from export.manifest import FileSpec, TensorInfo
from export.verify.coverage.macs import macs
from tests.export.emit.coreml.programs import Builder, ct, saved, types
from tests.export.networks import MobileNet3D, trained

pytestmark = pytest.mark.slow

X = np.random.default_rng(0).uniform(-1, 1, (1, 2, 4, 4)).astype(np.float32)


class Sequences(nn.Module):
    """Frames as tokens through an LSTM in both directions, a GRU and attention."""

    def __init__(self):
        super().__init__()
        self.frames = nn.Conv3d(3, 8, (1, 4, 4), (1, 4, 4))
        self.lstm = nn.LSTM(8, 4, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(8, 8, batch_first=True)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu", norm_first=True)
        self.attention = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 5)

    def forward(self, clip):
        tokens = self.frames(clip).mean((3, 4)).transpose(1, 2)
        tokens = self.gru(self.lstm(tokens)[0])[0]
        return self.head(self.attention(tokens).mean(1))


def written(path, model, clip):
    """The float32 file of a network, and its lowered graph."""
    lowered = lower(capture(model, (clip,)))
    with torch.no_grad():
        shape = tuple(lowered(clip).shape)
    spec = FileSpec(
        inputs=parse_inputs(["x".join(map(str, clip.shape))]),
        outputs=(TensorInfo(name="logits", shape=shape, dtype="float32", layout="NK"),),
        description={},
    )
    program = torch.export.export(lowered, (clip,))
    return write(program, path / "model.mlpackage", spec=spec, scheme="fp32"), lowered


@pytest.mark.parametrize("make", [Sequences, MobileNet3D])
def test_written_networks_match_torch(tmp_path, make):
    torch.manual_seed(0)
    model, clip = trained(make()), torch.rand(1, 3, 3, 8, 8)
    with torch.no_grad():
        wanted = model(clip).numpy()
    file, lowered = written(tmp_path, model, clip)
    runner, run = open_package(file.path)
    assert runner == "reference, not Apple's runtime" or runner.startswith("Core ML of macOS")
    (given,) = run({"clip": clip.numpy()}).values()
    assert np.abs(given - wanted).max() <= 1e-5 * np.abs(wanted).max()
    assert file.coverage is not None
    assert file.coverage.macs == sum(macs(node) for node in lowered.graph.nodes)


def test_every_result_is_rounded_to_its_declared_type(tmp_path):
    def build(x):
        half = Builder.cast(x=x, dtype="fp16")
        return Builder.cast(x=Builder.add(x=half, y=np.float16(1000)), dtype="fp32", name="sum")

    (given,) = run_program(saved(tmp_path, build), {"x": X}).values()
    np.testing.assert_array_equal(given, (X.astype(np.float16) + np.float16(1000)).astype(np.float32))
    assert set(np.unique(given % 0.5)) == {0}, "float16 counts in halves from 512 on"


def test_loops_and_branches_run(tmp_path):
    def build(x):
        steps = Builder.while_loop(
            _cond=lambda step, total: Builder.less(x=step, y=3),
            _body=lambda step, total: (Builder.add(x=step, y=1), Builder.add(x=total, y=x)),
            loop_vars=(0, Builder.mul(x=x, y=0.0)),
        )
        largest = Builder.reduce_max(x=x, axes=[0, 1, 2, 3], keep_dims=False)
        return Builder.cond(
            pred=Builder.greater(x=largest, y=5.0),
            _true_fn=lambda: Builder.add(x=steps[1], y=100.0),
            _false_fn=lambda: Builder.identity(x=steps[1]),
            name="total",
        )

    run = open_program(saved(tmp_path, build))
    np.testing.assert_allclose(run({"x": X})["total"], 3 * X, rtol=1e-6)
    np.testing.assert_allclose(run({"x": X + 9})["total"], 3 * (X + 9) + 100, rtol=1e-6)


def test_an_operator_that_the_reference_does_not_know_is_named(tmp_path):
    path = saved(tmp_path, lambda x: Builder.random_uniform(shape=[2], seed=1, name="noise"))
    with pytest.raises(
        NotImplementedError, match=r"operator 'random_uniform', which gives 'noise', is none of"
    ):
        open_program(path)


def test_inputs_that_do_not_fit_are_refused(tmp_path):
    run = open_program(saved(tmp_path, lambda x: Builder.relu(x=x)))
    with pytest.raises(ValueError, match="inputs clip; the program takes x"):
        run({"clip": X})
    with pytest.raises(ValueError, match=r"input 'x' of shape \(1, 2, 4\); the program takes \(1, 2, 4, 4\)"):
        run({"x": X[..., 0]})


def test_integers_go_in_as_integers(tmp_path):
    tokens = Builder.TensorSpec((1, 3), types.int32)
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    path = saved(tmp_path, lambda text: Builder.gather(x=table, indices=text, name="rows"), inputs=(tokens,))
    given = run_program(path, {"text": np.array([[2, 0, 3]], np.int32)})
    np.testing.assert_array_equal(given["rows"], table[[[2, 0, 3]]])


def test_a_package_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.mlpackage: no such package; give the folder"):
        read_program(tmp_path / "nothing.mlpackage")


def test_a_model_of_another_type(tmp_path):
    spec = ct.proto.Model_pb2.Model(specificationVersion=4)
    spec.identity.SetInParent()
    ct.models.utils.save_spec(spec, str(tmp_path / "other.mlmodel"))
    with pytest.raises(ValueError, match=r"other\.mlmodel: holds a model of type identity; only ML programs"):
        read_program(tmp_path / "other.mlmodel")
