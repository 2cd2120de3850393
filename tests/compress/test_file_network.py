"""Teachers that are files: mapping of inputs and outputs, equality with torch, hostile files."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.any_file import OpenTensor
from compress.file_network import FileNetwork
from compress.teacher_check import check_on_inputs
from compress.teacher_settings import FileInput, FileOutput
from export.network import export_network
from models.spec import ClipSpec, LabelSpec, VideoSpec
from tests.compress.model_files import UINT8, WEIGHT, expected, mean_colour

CLASSES = tuple("abcdefgh")
SPEC = ClipSpec(
    video=VideoSpec(frames=4, size=32, resize=36), labels=(LabelSpec(name="label", classes=CLASSES),)
)


def network(path, *, output=None, spec=SPEC, **settings):
    settings = FileInput(**settings)
    return FileNetwork(path, spec, inputs={"clip": settings}, outputs={"label": output or FileOutput()})


def clips(count=5):
    return torch.rand(count, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.space = nn.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1)
        self.classify = nn.Linear(8, 8)

    def forward(self, clip):
        return self.classify(torch.relu(self.space(clip)).mean((2, 3, 4)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """One network as a file of each format, for one clip at a time."""
    pytest.importorskip("ai_edge_litert")
    torch.manual_seed(0)
    net, one = Net().eval(), torch.rand(1, 3, 4, 32, 32)
    folder = tmp_path_factory.mktemp("exported")
    torch.export.save(torch.export.export(net, (one,)), folder / "net.pt2")
    export_network(net, {"clip": one}, out=folder / "files", formats=["onnx", "tflite"])
    files = folder / "files"
    return net, {
        "pt2": folder / "net.pt2",
        "onnx": files / "onnx" / "fp32" / "model.onnx",
        "tflite": files / "tflite" / "fp32" / "model.tflite",
    }


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "layout"), [("pt2", "NCTHW"), ("onnx", "NCTHW"), ("tflite", "NTHWC")])
def test_a_file_of_each_format_equals_the_network_in_torch(exported, kind, layout):
    net, files = exported
    (found,) = network(files[kind], layout=layout)(clips())
    with torch.no_grad():
        torch.testing.assert_close(found, net(clips()), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_a_file_that_is_cut_off_is_refused(exported, tmp_path):
    for kind, path in exported[1].items():
        content = path.read_bytes()
        broken = tmp_path / f"broken.{kind}"
        broken.write_bytes(content[: len(content) // 2])
        with pytest.raises(ValueError, match=rf"broken.{kind} cannot be opened: .* in 'open'"):
            network(broken).opened()


def test_an_empty_file_is_refused(tmp_path):
    for name in ("empty.onnx", "empty.tflite"):
        (tmp_path / name).touch()
        with pytest.raises(ValueError, match=rf"{name} cannot be opened: .* in 'open'"):
            network(tmp_path / name).opened()


def test_a_batch_of_any_size_gets_one_clip_at_a_time(tmp_path):
    (found,) = network(mean_colour(tmp_path / "net.onnx"))(clips())
    np.testing.assert_allclose(found, expected(clips().numpy()), atol=1e-5)


def test_a_fixed_batch_is_filled_up(tmp_path):
    """5 clips by 3: the second batch repeats the last clip, which does not count."""
    path = mean_colour(tmp_path / "net.onnx", shape=(3, 3, 4, 32, 32))
    (found,) = network(path)(clips())
    np.testing.assert_allclose(found, expected(clips().numpy()), atol=1e-5)


def test_single_frames_are_averaged(tmp_path):
    """uint8 images `N H W C` in 0..255, as vision files of phones take them."""
    path = mean_colour(tmp_path / "net.onnx", shape=(None, 32, 32, 3), axes=(1, 2), kind=UINT8)
    pixels = (clips() * 255).round() / 255
    (found,) = network(path, layout="NHWC", range=(0, 255))(pixels)
    np.testing.assert_allclose(found, 255 * expected(pixels.numpy()), rtol=1e-4, atol=1e-3)


def test_a_file_without_a_batch_axis(tmp_path):
    path = mean_colour(tmp_path / "net.onnx", shape=(32, 32, 3), axes=(0, 1))
    (found,) = network(path, layout="HWC")(clips(2))
    np.testing.assert_allclose(found, expected(clips(2).numpy()), atol=1e-5)


def test_pixels_are_scaled_then_normalised(tmp_path):
    given = {"range": (-1, 1), "mean": (0.1, 0.2, 0.3), "std": (0.5, 1.0, 2.0)}
    (found,) = network(mean_colour(tmp_path / "net.onnx"), **given)(clips())
    mean, std = (np.array(given[name]).reshape(1, 3, 1, 1, 1) for name in ("mean", "std"))
    np.testing.assert_allclose(found, expected((2 * clips().numpy() - 1 - mean) / std), atol=1e-4)


def test_classes_are_brought_into_the_order_of_the_column(tmp_path):
    """A file with ten classes, of which the column has eight in another order."""
    weight = np.random.default_rng(1).normal(size=(3, 10)).astype(np.float32)
    path = mean_colour(tmp_path / "net.onnx", weight=weight)
    of_file = ("h", "other", *"gfedcba", "background")
    (found,) = network(path, output=FileOutput(classes=of_file))(clips())
    order = [of_file.index(name) for name in CLASSES]
    np.testing.assert_allclose(found, expected(clips().numpy(), weight)[:, order], atol=1e-5)
    with pytest.raises(
        ValueError, match=r"outputs.label.classes lacks 7 of the 8 classes of the column.* 'b'"
    ):
        network(path, output=FileOutput(classes=("a", "z"))).opened()
    with pytest.raises(ValueError, match="class 'a' is given twice"):
        FileOutput(classes=("a", "b", "a"))


def test_probabilities_become_logits(tmp_path):
    path = mean_colour(tmp_path / "net.onnx", softmax=True)
    (found,) = network(path, output=FileOutput(values="probabilities"))(clips())
    np.testing.assert_allclose(
        found.softmax(1), torch.from_numpy(expected(clips().numpy())).softmax(1), atol=1e-5
    )
    logits = mean_colour(tmp_path / "logits.onnx", weight=10 * WEIGHT)
    with pytest.raises(
        ValueError, match=r"output 'y' has values from -.*no probabilities; set outputs.label"
    ):
        network(logits, output=FileOutput(values="probabilities"))(clips())


def test_an_output_is_chosen_by_name_or_position(tmp_path):
    path = mean_colour(tmp_path / "net.onnx", more_outputs=True)
    with pytest.raises(
        ValueError, match=r"has 2 of them, mean \[N, 3\], y \[N, 8\]: name one by outputs.label"
    ):
        network(path).opened()
    for name in ("y", 1):
        (found,) = network(path, output=FileOutput(name=name))(clips())
        np.testing.assert_allclose(found, expected(clips().numpy()), atol=1e-5)
    with pytest.raises(
        ValueError, match=r"outputs.label.name is 'z'; the file has mean \[N, 3\], y \[N, 8\]"
    ):
        network(path, output=FileOutput(name="z")).opened()
    with pytest.raises(ValueError, match=r"outputs.label.name is 7; the file has 2"):
        network(path, output=FileOutput(name=7)).opened()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (1, 3, 16, 64, 64),
            r"input 'x' has shape \[1, 3, 16, 64, 64\], but the clip has \[N, 3, 4, 32, 32\] in layout NCTHW: set "
            r"teacher.clip to {frames: 16, size: 64}",
        ),
        ((1, 4, 32, 32, 3), r"\[1, 4, 32, 32, 3\], but the clip has \[N, 3, 4, 32, 32\] .*: set its layout"),
        ((1, 3, 32, 32), r"input 'x' has shape \[1, 3, 32, 32\], but the clip has \[N, 3, 4, 32, 32\]"),
        ((1, 3, 10**5, 10**5, 10**5), r"\[1, 3, 100000, 100000, 100000\], but the clip has"),
    ],
)
def test_another_shape_of_the_input_is_refused_with_both_shapes(tmp_path, shape, message):
    colours = shape.index(3)
    axes = tuple(axis for axis in range(1, len(shape)) if axis != colours)
    path = mean_colour(tmp_path / "net.onnx", shape=shape, axes=axes)
    with pytest.raises(ValueError, match=message):
        network(path).opened()


def test_another_number_of_classes_is_refused_with_both_shapes(tmp_path):
    path = mean_colour(tmp_path / "net.onnx", weight=np.ones((3, 600), np.float32))
    with pytest.raises(
        ValueError, match=r"'y' has shape \[N, 600\], but the label column label needs \[N, 8\]"
    ):
        network(path).opened()


def test_nan_in_the_outputs_is_refused(tmp_path):
    path = mean_colour(tmp_path / "net.onnx", weight=np.full((3, 8), np.nan, np.float32))
    with pytest.raises(ValueError, match="the teacher returns NaN or infinity in the column label"):
        check_on_inputs(
            network(path).eval(), SPEC, (clips(),), device=torch.device("cpu"), what="the teacher"
        )


def test_weights_in_another_file_are_refused(tmp_path):
    path = mean_colour(tmp_path / "net.onnx", external=True)
    with pytest.raises(
        ValueError, match="its weights are in another file, which the key of the run does not cover"
    ):
        network(path).opened()


def test_a_runtime_that_crashes_is_named_and_started_again(tmp_path):
    teacher = network(mean_colour(tmp_path / "net.onnx"))
    os.kill(teacher.opened().worker.pid, signal.SIGKILL)
    with pytest.raises(ValueError, match=r"net.onnx: ONNX Runtime was killed by SIGKILL .* in 'run'"):
        teacher(clips())
    (found,) = teacher(clips())
    np.testing.assert_allclose(found, expected(clips().numpy()), atol=1e-5)


def test_quantized_numbers_are_those_of_the_scale_of_the_file():
    tensor = OpenTensor(name="x", shape=(4,), dtype="int8", scale=0.5, zero_point=-10)
    numbers = tensor.stored(np.array([0.0, 1.0, 0.26, 1000.0]))
    assert numbers.dtype == np.int8 and numbers.tolist() == [-10, -8, -9, 127]
    np.testing.assert_array_equal(tensor.real(numbers[:3]), np.float32([0.0, 1.0, 0.5]))
    plain = OpenTensor(name="x", shape=(2,), dtype="uint8")
    assert plain.stored(np.array([0.4, 254.6])).tolist() == [0, 255]
    with pytest.raises(ValueError, match="input 'x' is uint8, but the values go from -1 to 3"):
        plain.stored(np.array([-1.0, 3.0]))
