from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx, nn

pytest.importorskip("ai_edge_litert.interpreter")

from models.spec import as_tuple
from tests.export.emit.tflite.litert import CLIP, quantized, step_of
from tests.export.networks import CONVOLUTIONS, OTHERS, Function, MobileNet3D, TwoInputs, conv, trained

pytestmark = pytest.mark.slow


def parameters_of(reference: fx.GraphModule, kind: str) -> set[tuple[Any, ...]]:
    """(scale, zero point) of the nodes of `kind`."""
    nodes = [
        node for node in reference.graph.nodes if str(node.target).startswith(f"quantized_decomposed.{kind}")
    ]
    return {(float(np.float32(node.args[1])), int(node.args[2])) for node in nodes}


def test_int8_file_computes_in_int8_with_the_parameters_of_the_reference(tmp_path):
    inputs = {"clip": torch.rand(CLIP)}
    reference, file = quantized(trained(MobileNet3D()), inputs, tmp_path)
    dtypes = file.computed_dtypes()
    assert dtypes["QUANTIZE", "int8"] == dtypes["DEQUANTIZE", "float32"] == 1
    # A clip is normalised in float, on rows of several pixels, before it is rounded.
    assert {kind for kind, dtype in dtypes if dtype != "int8"} == {"DEQUANTIZE", "RESHAPE", "MUL", "ADD"}
    assert not dtypes["TRANSPOSE", "int8"]
    assert file.is_one_partition()
    assert file.file.notes[-1] == "in float: ADD x1, MUL x1, RESHAPE x1"
    decided = parameters_of(reference, "quantize_per_tensor")
    constants = {
        i for op in file.ops if "CONV" in op["op_name"] or "FULLY" in op["op_name"] for i in op["inputs"][1:3]
    }
    found = {
        detail["quantization"]
        for index, detail in file.tensors.items()
        if detail["dtype"] is np.int8 and index not in constants
    }
    assert {(float(np.float32(scale)), zero_point) for scale, zero_point in found} <= decided


class Pooled(nn.Module):
    """Max pooling with padding: of a ReLU, and of two concatenated poolings."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = conv(3, 6, 3, stride=2, padding=1), conv(12, 6, 1)
        self.pool, self.again = nn.MaxPool3d(3, 2, 1), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))

    def forward(self, clip):
        x = self.pool(self.first(clip).relu())
        return self.second(self.again(torch.cat([x, self.again(x).mean((3, 4), keepdim=True) + x], 1)))


def test_padding_of_max_pooling_leaves_a_network_in_one_partition(tmp_path):
    _, file = quantized(trained(Pooled()), {"clip": torch.rand(CLIP)}, tmp_path)
    assert {op["op_name"] for op in file.ops} >= {"MAX_POOL_2D", "PAD"}
    assert file.is_one_partition()


@pytest.mark.parametrize("size", [6, 7], ids=["padded at one end", "padded at both ends"])
def test_averages_that_leave_padding_out_stay_with_the_delegate(tmp_path, size):
    pool = nn.AvgPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1), count_include_pad=False)
    model = trained(nn.Sequential(conv(3, 8, 1), nn.ReLU(), pool, conv(8, 5, 1)))
    inputs = {"clip": torch.rand(1, 3, 4, size, size)}
    reference, file = quantized(model, inputs, tmp_path)
    assert np.abs(file(**inputs)[0] - reference(*inputs.values()).numpy()).max() <= 1.01 * step_of(file)
    assert file.is_one_partition()


def test_hard_swish_of_rows_stays_with_the_delegate(tmp_path):
    model = nn.Sequential(
        conv(3, 8, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 16), nn.Hardswish()
    )
    inputs = {"clip": torch.rand(CLIP)}
    reference, file = quantized(trained(model.append(nn.Linear(16, 5))), inputs, tmp_path)
    assert file.is_one_partition()
    np.testing.assert_allclose(file(**inputs)[0], reference(*inputs.values()).numpy(), atol=0.02)


def test_hard_swish_of_numbers_next_to_zero_is_written(tmp_path):
    first = nn.Conv3d(3, 8, 3)
    first.weight.data *= 1e-6
    first.bias.data *= 1e-6
    inputs = {"clip": torch.rand(CLIP)}
    _, file = quantized(nn.Sequential(first, nn.Hardswish(), conv(8, 4, 1)).eval(), inputs, tmp_path)
    assert {op["op_name"] for op in file.ops} >= {"HARD_SWISH"}


def test_int8_weights_are_those_of_the_reference(tmp_path):
    model = trained(nn.Sequential(conv(3, 6, 1), conv(6, 6, (1, 3, 3), padding=(0, 1, 1), groups=6)))
    reference, file = quantized(model, {"clip": torch.rand(CLIP)}, tmp_path)
    weights = [
        (node.args[0], node.args[1])
        for node in reference.graph.nodes
        if str(node.target).startswith("quantized_decomposed.dequantize_per_channel")
    ]
    ops = [op for op in file.ops if "CONV" in op["op_name"]]
    for (numbers, scales), op in zip(weights, ops, strict=True):
        detail = file.tensors[op["inputs"][1]]
        want_numbers = getattr(reference, numbers.target).numpy()
        order = (1, 2, 3, 0) if op["op_name"].startswith("DEPTHWISE") else (0, 2, 3, 1)
        np.testing.assert_array_equal(
            file.interpreter.get_tensor(detail["index"]), want_numbers.transpose(order)
        )
        want_scales = getattr(reference, scales.target).numpy().astype(np.float32)
        np.testing.assert_array_equal(detail["quantization_parameters"]["scales"], want_scales)
        assert detail["quantization_parameters"]["quantized_dimension"] == order.index(0)


@pytest.mark.parametrize(
    "name",
    [
        "depthwise strided",
        "grouped",
        "squeeze-excite",
        "squeeze-excite over frames",
        "channels joined",
        "average pool",
    ],
)
def test_int8_files_agree_with_the_reference(tmp_path, name):
    inputs = {"clip": torch.rand(CLIP)}
    reference, file = quantized(trained({**CONVOLUTIONS, **OTHERS}[name]()), inputs, tmp_path)
    (given,), (want,) = file(**inputs), as_tuple(reference(*inputs.values()))
    assert np.abs(given - want.numpy()).max() <= 2.01 * step_of(file)
    assert file.is_one_partition()


def over_time(*layers: nn.Module) -> nn.Module:
    """`layers` on the sequence of the mean colours of a clip's frames."""
    return trained(Function(lambda x, *layers: nn.Sequential(*layers)(x.mean((3, 4))).mean(2), *layers))


@pytest.mark.parametrize("groups", [1, 16], ids=["dense", "depthwise"])
def test_convolutions_over_time_compute_in_int8(tmp_path, groups):
    inputs = {"clip": torch.rand(CLIP)}
    model = over_time(nn.Conv1d(3, 16, 1), nn.Conv1d(16, 16, 3, padding=1, groups=groups))
    reference, file = quantized(model, inputs, tmp_path)
    assert np.abs(file(**inputs)[0] - reference(*inputs.values()).detach().numpy()).max() <= 1.01 * step_of(
        file
    )
    assert {dtype for kind, dtype in file.computed_dtypes() if "CONV" in kind} == {"int8"}
    assert file.is_one_partition()


def test_named_padding_leaves_a_convolution_in_int8(tmp_path):
    inputs = {"x": torch.rand(1, 3, 10, 10)}
    model = trained(nn.Sequential(nn.Conv2d(3, 8, 3, padding="same"), nn.Conv2d(8, 8, 4, padding="same")))
    reference, file = quantized(model, inputs, tmp_path)
    assert np.abs(file(**inputs)[0] - reference(*inputs.values()).detach().numpy()).max() <= 1.01 * step_of(
        file
    )
    assert file.computed_dtypes()["CONV_2D", "int8"] == 2


CLIPS: dict[str, Callable[[], nn.Module]] = {
    "flatten and linear": lambda: nn.Sequential(
        conv(3, 4, (8, 3, 3), act=nn.ReLU), nn.Flatten(), nn.Linear(320, 5)
    ),
    "clamp behind a pool": lambda: nn.Sequential(conv(3, 4, 1), nn.MaxPool3d(2), nn.ReLU6(), conv(4, 4, 1)),
}


@pytest.mark.parametrize("name", CLIPS)
def test_int8_files_stay_in_one_partition_and_transpose_nothing(tmp_path, name):
    inputs = {"clip": torch.rand(CLIP)}
    reference, file = quantized(trained(CLIPS[name]()), inputs, tmp_path)
    (given,), (want,) = file(**inputs), as_tuple(reference(*inputs.values()))
    assert np.abs(given - want.detach().numpy()).max() <= 2.01 * step_of(file)
    assert file.is_one_partition()
    # One transpose returns a result of rank 5 channels first.
    assert file.counts()["TRANSPOSE"] == (want.dim() == 5)


def test_int8_logits_of_two_inputs_and_heads_agree_with_the_reference(tmp_path):
    inputs = {"clip": torch.rand(CLIP), "audio": torch.rand(1, 1, 16, 12)}
    reference, file = quantized(trained(TwoInputs()), inputs, tmp_path)
    for seed in range(4):
        torch.manual_seed(seed)
        sample = {name: torch.rand_like(tensor) for name, tensor in inputs.items()}
        for i, (given, want) in enumerate(zip(file(**sample), reference(*sample.values()), strict=True)):
            assert np.abs(given - want.detach().numpy()).max() <= 2.01 * step_of(file, i)
    assert file.is_one_partition()


def test_a_channel_pruned_to_zero_keeps_its_bias(tmp_path):
    model = trained(nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU()))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 3.0
    inputs = {"clip": torch.rand(CLIP)}
    _, file = quantized(model, inputs, tmp_path)
    assert np.abs(file(**inputs)[0][:, 1] - 3.0).max() <= step_of(file)


def test_what_the_reference_leaves_in_float_stays_in_float_and_is_noted(tmp_path):
    inputs = {"clip": torch.rand(CLIP)}
    reference, file = quantized(trained(OTHERS["tokens"]()), inputs, tmp_path)
    assert "RSQRT x1" in file.file.notes[0]
    step = float(np.abs(file(**inputs)[0]).max()) / 127
    assert np.abs(file(**inputs)[0] - reference(*inputs.values()).detach().numpy()).max() <= 2 * step
