from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("ai_edge_litert.interpreter")

from export.capture.graph import capture
from export.emit.tflite.writer import METADATA, write
from export.manifest import FileSpec, TensorInfo, file_spec
from models.spec import ClipSpec
from tests.export.emit.tflite.litert import CLIP, Written, error_of, file_spec_of, written
from tests.export.networks import CONVOLUTIONS, OTHERS, MobileNet3D, trained
from tests.export.small_nets import clip_spec, float_graph, program_of

pytestmark = pytest.mark.slow


class Call(nn.Module):
    """Layers and a function of them and the input."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Any:
        return self.function(x, *self.layers)


def split_heads(x: Tensor) -> Tensor:
    return x.reshape(1, 6, 2, 4).transpose(1, 2)


def attention(x: Tensor, qkv: nn.Module, norm: nn.Module) -> Tensor:
    q, k, v = qkv(norm(x)).chunk(3, dim=-1)
    y = F.scaled_dot_product_attention(split_heads(q), split_heads(k), split_heads(v))
    return x + y.transpose(1, 2).reshape(1, 6, 8)


PICTURES: dict[str, Callable[[], nn.Module]] = {
    "strided on even sizes": lambda: nn.Conv2d(6, 5, 3, stride=2, padding=1),
    "strided depthwise": lambda: nn.Conv2d(6, 12, 3, stride=2, padding=1, groups=6),
    "grouped dilated": lambda: nn.Conv2d(6, 4, 3, padding=2, dilation=2, groups=2),
    "flatten and linear": lambda: nn.Sequential(nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 8, 5)),
    "norm that cannot fold": lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm2d(6)),
    "max pool behind relu": lambda: nn.Sequential(nn.Conv2d(6, 6, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
    "max pool of negative numbers": lambda: Call(lambda x: F.max_pool2d(-x, 3, 2, 1)),
    "average pools": lambda: nn.Sequential(
        nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, 1, count_include_pad=False), nn.AvgPool2d(2, 2, ceil_mode=True)
    ),
    "nearest neighbours": lambda: nn.Upsample(scale_factor=2),
    "concatenations": lambda: Call(lambda x: torch.cat([x + i for i in range(7)] + [torch.ones(1, 2, 8, 10)], 1)),
    "pieces": lambda: Call(lambda x: torch.cat([x.split([1, 2, 3], 1)[2], x[:, 1][:, None]], 1)),
    "every second": lambda: Call(lambda x: x[:, :, 1::2, ::3]),
    "sums and products": lambda: Call(
        lambda x: (2 - x) * x.mean(1, keepdim=True) / x.square().sum((2, 3), keepdim=True)
    ),
    "curves": lambda: Call(
        lambda x: F.silu(x) + F.gelu(x) + F.hardswish(x) + F.hardsigmoid(x) + F.elu(x) + F.leaky_relu(x) + x.tanh()
    ),
    "clamps": lambda: Call(
        lambda x: F.relu6(x - 1) + x.clamp(-1, 1) + x.clamp(0.2, 0.4) + x.clamp(max=0.3) + F.relu(x)
    ),
    "powers": lambda: Call(lambda x: (x.abs() + 1).sqrt() + (x.exp() + 1).rsqrt() + x**2 - (-x).pow(3)),
    "comparisons": lambda: Call(lambda x: torch.maximum(x, 1 - x) + torch.minimum(x, x.amax(1, keepdim=True))),
    "broadcast to a picture": lambda: Call(lambda x: x.mean((2, 3), keepdim=True).expand(1, 6, 4, 5).contiguous()),
    "classes": lambda: Call(lambda x: (x.mean((2, 3)).softmax(1), F.log_softmax(x.mean((2, 3)), 1))),
    "padding": lambda: Call(lambda x: F.pad(x, (1, 0, 2, 1), value=0.5)),
    "products of pictures": lambda: Call(lambda x: x @ x.transpose(2, 3)),
}  # fmt: skip
"""Networks on images `1 6 8 10`."""

LOWERED_PICTURES: dict[str, Callable[[], nn.Module]] = {
    "same padding": lambda: nn.Conv2d(6, 4, (3, 5), padding="same"),
    "same padding of even kernels": lambda: nn.Conv2d(6, 4, (4, 2), padding="same", dilation=(1, 3)),
    "nearest neighbours at 5/4 of the pixels": lambda: nn.Upsample(scale_factor=1.25),
    "bilinear at 5/4 of the pixels": lambda: nn.Upsample(scale_factor=1.25, mode="bilinear"),
}
"""Networks on images `1 6 10 10` with operators that no runtime has: lowering rewrites them."""

SEQUENCES: dict[str, Callable[[], nn.Module]] = {
    "linear over channels": lambda: Call(lambda x, f: f(x.transpose(1, 2)), nn.Linear(6, 3)),
    "convolution": lambda: Call(lambda x, f: f(x), nn.Conv1d(6, 4, 3, stride=2, padding=1)),
}
"""Networks on sequences `1 6 8`."""


@pytest.mark.parametrize("name", PICTURES)
def test_networks_on_images_match_torch(tmp_path, name):
    model = trained(PICTURES[name]())
    inputs = {"x": torch.randn(1, 6, 8, 10)}
    assert error_of(written(model, inputs, tmp_path), model, inputs) < 1e-5


@pytest.mark.parametrize("name", LOWERED_PICTURES)
def test_lowered_networks_on_images_match_torch(tmp_path, name):
    model = trained(LOWERED_PICTURES[name]())
    inputs = {"x": torch.randn(1, 6, 10, 10)}
    assert error_of(written(model, inputs, tmp_path, lowering=True), model, inputs) < 1e-5


@pytest.mark.parametrize("name", SEQUENCES)
def test_networks_on_sequences_agree_with_torch(tmp_path, name):
    model = trained(SEQUENCES[name]())
    inputs = {"x": torch.randn(1, 6, 8)}
    assert error_of(written(model, inputs, tmp_path), model, inputs) < 1e-5


def test_attention_agrees_with_torch(tmp_path):
    model = trained(Call(attention, nn.Linear(8, 24), nn.LayerNorm(8)))
    inputs = {"x": torch.randn(1, 6, 8)}
    assert error_of(written(model, inputs, tmp_path, lowering=True), model, inputs) < 1e-5


@pytest.mark.parametrize("name", [*CONVOLUTIONS, *OTHERS])
def test_lowered_networks_agree_with_torch(tmp_path, name):
    model = trained({**CONVOLUTIONS, **OTHERS}[name]())
    inputs = {"clip": torch.rand(CLIP)}
    file = written(model, inputs, tmp_path, lowering=True)
    assert error_of(file, model, inputs) < 1e-5
    # The spec requests a result of rank 5 channels first, which takes one transpose at the end.
    assert file.counts()["TRANSPOSE"] <= 1


def test_a_flattened_picture_needs_no_transpose(tmp_path):
    model = trained(PICTURES["flatten and linear"]())
    assert written(model, {"x": torch.randn(1, 6, 8, 10)}, tmp_path).counts()["TRANSPOSE"] == 1
    lying = nn.Sequential(nn.Conv2d(6, 6, 1), model)
    # The remaining one is for the input, which this test passes channels first.
    assert written(trained(lying), {"x": torch.randn(1, 6, 8, 10)}, tmp_path).counts()["TRANSPOSE"] == 1


def test_mobilenet3d_transposes_nothing(tmp_path):
    model, inputs = trained(MobileNet3D()), {"clip": torch.rand(CLIP)}
    file = written(model, inputs, tmp_path, lowering=True)
    assert error_of(file, model, inputs) < 1e-5
    computing = {"CONV_2D", "DEPTHWISE_CONV_2D", "MUL", "ADD", "RELU6", "MEAN", "FULLY_CONNECTED"}
    assert set(file.counts()) <= computing | {"PAD", "SLICE", "CONCATENATION", "RESHAPE", "DELEGATE"}
    assert file.is_one_partition()


def test_the_file_names_its_tensors_and_describes_itself(tmp_path):
    spec: ClipSpec = clip_spec(audio=True, text=True, heads=2)
    requested = file_spec(spec, clip_layout="NTHWC", token_dtype="int32", provenance={"recipe": "small"})
    graph = float_graph(spec)
    file = Written(write(program_of(graph, spec), tmp_path / "model.tflite", spec=requested, scheme="fp32"))
    (signature,) = file.interpreter.get_signature_list().values()
    assert set(signature["inputs"]) == {"clip", "audio", "text"}
    assert set(signature["outputs"]) == {"logits_column0", "logits_column1"}
    details = {detail["name"]: tuple(detail["shape"]) for detail in file.interpreter.get_input_details()}
    assert details == {"clip": (1, 4, 16, 16, 3), "audio": (1, 1, 8, 12), "text": (1, 6)}
    example = spec.example()
    for given, want in zip(
        file(**dict(zip(spec.inputs, example, strict=True))), graph(*example), strict=True
    ):
        np.testing.assert_allclose(given, want.detach().numpy(), atol=1e-5)
    description = json.loads(metadata_of(file.file.path)[METADATA])
    assert description["provenance"] == {"recipe": "small"}
    assert description["inputs"][0]["layout"] == "NTHWC"
    assert description["classes"][1] == ["left", "right"]


def model_in(path: Path) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.Model.GetRootAs(path.read_bytes(), 0)


def metadata_of(path: Path) -> dict[str, str]:
    model = model_in(path)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    return {
        entry.Name().decode(): bytes(model.Buffers(entry.Buffer()).DataAsNumpy()).decode()
        for entry in entries
    }


def test_no_two_tensors_share_a_name(tmp_path):
    twice = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.Hardswish(), nn.Conv2d(6, 5, 3), nn.Flatten())
    file = written(twice, {"x": torch.randn(1, 6, 8, 10)}, tmp_path).file
    graph = model_in(file.path).Subgraphs(0)
    names = [graph.Tensors(i).Name().decode() for i in range(graph.TensorsLength())]
    assert len(names) == len(set(names)) and any(name.endswith("/constant/2") for name in names)
    assert graph.Tensors(graph.Inputs(0)).Name() == b"x"


def test_constants_are_aligned_so_that_the_runtime_maps_them(tmp_path):
    file = written(nn.Conv2d(6, 5, 3), {"x": torch.randn(1, 6, 8, 10)}, tmp_path).file
    model, content = model_in(file.path), file.path.read_bytes()
    buffers = [model.Buffers(i).DataAsNumpy() for i in range(model.BuffersLength())]
    assert all(
        content.index(b.tobytes()) % 16 == 0 for b in buffers if isinstance(b, np.ndarray) and b.size > 16
    )


def test_an_operator_without_a_form_is_refused_with_its_place_and_a_replacement(tmp_path):
    model = Call(lambda x: torch.erfinv(x) + torch.erfinv(2 * x))
    message = (
        r"^erfinv at .*test_writer[^;]* cannot be written for LiteRT: mobile runtimes [^;]*; "
        r"write this line[^;]*$"  # once for both
    )
    with pytest.raises(NotImplementedError, match=message):
        written(model, {"x": torch.randn(1, 6, 8, 10)}, tmp_path)


def test_padding_of_max_pooling_leaves_a_network_in_one_partition(tmp_path):
    model = Call(
        lambda x: F.max_pool2d(-x.abs(), (3, 5), (2, 1), (1, 2)) + F.max_pool2d(x.relu(), 3, 2, 1).mean()
    )
    x = torch.randn(1, 6, 8, 10)
    file = written(model, {"x": x}, tmp_path)
    assert {op["op_name"] for op in file.ops} >= {"CONCATENATION", "SLICE", "PAD"}
    assert file.is_one_partition()
    np.testing.assert_allclose(file(x=x)[0], model(x).numpy(), atol=1e-5)


def test_a_form_that_an_operator_does_not_have_is_refused_with_its_place(tmp_path):
    model = Call(lambda x: x.to(torch.float64))
    with pytest.raises(NotImplementedError, match=r"to at .*test_writer.*numbers of type torch.float64"):
        written(model, {"x": torch.randn(1, 6, 8, 10)}, tmp_path)


def test_an_unlowered_network_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(NotImplementedError, match=r"conv3d at .*lower the graph first"):
        written(nn.Conv3d(3, 4, 3), {"clip": torch.rand(CLIP)}, tmp_path)


def test_a_spec_that_does_not_fit_is_refused(tmp_path):
    x = torch.randn(1, 6, 8, 10)
    program = capture(nn.ReLU(), (x,))
    fitting, other = file_spec_of({"x": x}, (x,)), file_spec_of({"x": x[:, :3]}, (x[:, :3],))

    def attempt(inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]) -> None:
        spec = FileSpec(inputs=inputs, outputs=outputs, description={})
        write(program, tmp_path / "model.tflite", spec=spec, scheme="fp32")

    with pytest.raises(
        ValueError, match=r"input 'x': the file must take shape \(1, 3, 8, 10\) in layout NCTH"
    ):
        attempt(other.inputs, fitting.outputs)
    with pytest.raises(ValueError, match="takes 1 inputs, the file must have 2"):
        attempt(fitting.inputs * 2, fitting.outputs)
    with pytest.raises(ValueError, match="returns 1 outputs, the file must have 2"):
        attempt(fitting.inputs, fitting.outputs * 2)
    with pytest.raises(ValueError, match=r"output 'output0': the file must return \(1, 3, 8, 10\)"):
        attempt(fitting.inputs, other.outputs)


def test_an_unknown_scheme_is_refused(tmp_path):
    x = torch.randn(1, 6, 8, 10)
    with pytest.raises(ValueError, match=r"scheme 'w3' for .tflite files: choose one of fp32"):
        write(capture(nn.ReLU(), (x,)), tmp_path / "m.tflite", spec=file_spec_of({"x": x}, (x,)), scheme="w3")
