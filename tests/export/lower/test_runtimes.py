"""Lowered networks in the runtimes: the outputs match torch for every operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.capture.graph import capture, named_outputs
from export.lower import lower
from export.manifest import FileSpec, TensorInfo, WrittenFile
from tests.export.networks import trained
from tests.export.operators import OPERATORS
from tests.export.styles import STYLES, inputs_of

pytestmark = pytest.mark.slow

LIMIT = 1e-5
"""Largest difference from torch, relative to the largest number."""

LAYOUTS = {0: "", 1: "N", 2: "NK", 3: "NCT", 4: "NCTH", 5: "NCTHW"}


def spec_of(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], *, whole: str = "int64") -> FileSpec:
    def info(name: str, tensor: Tensor) -> TensorInfo:
        dtype = "float32" if tensor.is_floating_point() else whole
        return TensorInfo(name=name, shape=tuple(tensor.shape), dtype=dtype, layout=LAYOUTS[tensor.dim()])

    return FileSpec(
        inputs=tuple(info(f"input{i}", tensor) for i, tensor in enumerate(inputs)),
        outputs=tuple(info(f"output{i}", tensor) for i, tensor in enumerate(outputs)),
        description={},
    )


def on_onnxruntime(file: WrittenFile, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file.path))
    return session.run(None, {info.name: x.numpy() for info, x in zip(file.inputs, inputs, strict=True)})


def on_litert(file: WrittenFile, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_path=str(file.path), num_threads=1).get_signature_runner()
    given = {info.name: x.numpy().astype(info.dtype) for info, x in zip(file.inputs, inputs, strict=True)}
    result = runner(**given)
    return [result[info.name] for info in file.outputs]


def on_executorch(file: WrittenFile, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    from executorch.runtime import Runtime

    content = file.path.read_bytes()
    method = Runtime.get().load_program(content).load_method("forward")
    return [tensor.numpy() for tensor in method.execute(list(inputs))]


def on_coreml(file: WrittenFile, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    from export.emit.coreml.interpret import run_program

    given = {info.name: x.numpy().astype(info.dtype) for info, x in zip(file.inputs, inputs, strict=True)}
    result = run_program(file.path, given)
    return [result[info.name] for info in file.outputs]


def error(name: str, folder: Path, runtime: str) -> float:
    """Largest difference between the file of network `name` and torch, relative to the largest number."""
    return max(errors(trained(STYLES[name][0]()), inputs_of(name), folder, runtime).values())


def errors(model: nn.Module, inputs: tuple[Tensor, ...], folder: Path, runtime: str) -> dict[str, float]:
    """The same for every output of a network, by name."""
    from export.emit.coreml.writer import write as write_coreml
    from export.emit.executorch.writer import write as write_executorch
    from export.emit.onnx.writer import write as write_onnx
    from export.emit.tflite.writer import write as write_tflite

    write, run, suffix, whole = {
        "onnx": (write_onnx, on_onnxruntime, ".onnx", "int64"),
        "tflite": (write_tflite, on_litert, ".tflite", "int32"),
        "executorch": (write_executorch, on_executorch, ".pte", "int64"),
        "coreml": (write_coreml, on_coreml, ".mlpackage", "int32"),
    }[runtime]
    with torch.no_grad():
        named = named_outputs(model(*inputs))
    expected = tuple(named.values())
    program = torch.export.export(lower(capture(model, inputs)), inputs)
    spec = spec_of(inputs, expected, whole=whole)
    given = run(write(program, folder / f"model{suffix}", spec=spec, scheme="fp32"), inputs)
    return {
        output: float(
            np.abs(got.astype(np.float64) - want.double().numpy()).max() / want.double().abs().max()
        )
        for output, got, want in zip(named, given, expected, strict=True)
    }


@pytest.mark.parametrize("name", STYLES)
def test_litert(name: str, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter")
    assert error(name, tmp_path, "tflite") < LIMIT


@pytest.mark.parametrize("name", ["U-Net", "shifted windows", "clip, sound and words"])
def test_onnxruntime(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert error(name, tmp_path, "onnx") < LIMIT


@pytest.mark.parametrize("name", ["temporal shift", "octave convolution"])
def test_executorch(name: str, tmp_path: Path) -> None:
    pytest.importorskip("executorch.runtime")
    assert error(name, tmp_path, "executorch") < LIMIT


RUNTIMES = {
    "onnx": "onnxruntime",
    "tflite": "ai_edge_litert.interpreter",
    "executorch": "executorch.runtime",
    "coreml": "coremltools",
}

IN_ALL_RUNTIMES = (
    "logarithms", "angles", "error functions", "remainders", "rounding divisions", "clamped by tensors",
    "products of many", "any and all", "logic", "what is no number", "running products and extremes", "in order",
    "chosen by the input", "written by number", "assigned to parts", "diagonal", "converted before a softmax",
    "norms", "prelu", "padded by reflection", "padded by less than nothing", "padded channels",
    "whole numbers padded", "reciprocals", "gelu by tanh", "sums of truth values", "functions of whole numbers",
    "windows that hang over", "dilated maxima",
)  # fmt: skip


class Parallel(nn.Module):
    """Several networks on one clip, each an output."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.parts = nn.ModuleList(trained(OPERATORS[name]()) for name in names)

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        return {name: part(clip) for name, part in zip(self.names, self.parts, strict=True)}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_operators_that_runtimes_know_by_other_names(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip(RUNTIMES[runtime])
    torch.manual_seed(0)
    found = errors(Parallel(IN_ALL_RUNTIMES).eval(), (torch.rand(1, 3, 8, 12, 10),), tmp_path, runtime)
    assert not {name: error for name, error in found.items() if error > LIMIT}


@pytest.mark.parametrize(
    "name", ["angles", "converted before a softmax", "functions of whole numbers", "sums of truth values"]
)
def test_number_types_and_broadcasting_in_litert(name: str, tmp_path: Path) -> None:
    pytest.importorskip(RUNTIMES["tflite"])
    torch.manual_seed(0)
    model, clip = trained(OPERATORS[name]()), torch.rand(1, 3, 8, 12, 10)
    assert max(errors(model, (clip,), tmp_path, "tflite").values()) < LIMIT


class Sampling(nn.Module):
    """`grid_sample` in all its modes."""

    def forward(self, pictures: Tensor, grid: Tensor) -> dict[str, Tensor]:
        return {
            f"{mode}_{padding}_{corners}": nn.functional.grid_sample(pictures, grid, mode, padding, corners)
            for mode in ("bilinear", "nearest")
            for padding in ("zeros", "border", "reflection")
            for corners in (True, False)
        }


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_images_sampled_at_computed_positions(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip(RUNTIMES[runtime])
    torch.manual_seed(0)
    inputs = (torch.randn(2, 3, 6, 5), torch.rand(2, 4, 7, 2) * 2.6 - 1.3)
    found = errors(Sampling(), inputs, tmp_path, runtime)
    assert not {name: error for name, error in found.items() if error > LIMIT}


class EndOfText(nn.Module):
    """The pooling of CLIP's text tower, as Hugging Face writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 8)

    def forward(self, ids: Tensor) -> Tensor:
        hidden = self.words(ids)
        places = ids.to(dtype=torch.int, device=hidden.device).argmax(dim=-1)
        return hidden[torch.arange(hidden.shape[0], device=hidden.device), places]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_word_at_the_end_of_a_text(runtime: str, batch: int, tmp_path: Path) -> None:
    pytest.importorskip(RUNTIMES[runtime])
    torch.manual_seed(0)
    ids = torch.tensor([[1, 5, 9, 3, 0, 0], [1, 9, 0, 0, 0, 0], [2, 2, 2, 2, 2, 9]])[:batch]
    assert max(errors(EndOfText(), (ids,), tmp_path, runtime).values()) < LIMIT
