"""Lowered networks in the runtimes: the numbers of torch, whatever operators they are made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from export.capture import capture, named_outputs
from export.lower import lower
from export.manifest import FileSpec, TensorInfo, WrittenFile
from tests.export.networks import trained
from tests.export.styles import STYLES, inputs_of

LIMIT = 1e-5
"""Largest difference from torch, as part of the largest number."""

LAYOUTS = {1: "N", 2: "NK", 3: "NCT", 4: "NCTH", 5: "NCTHW"}


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


def error(name: str, folder: Path, runtime: str) -> float:
    """Largest difference between the file of network `name` and torch, relative to the largest number."""
    from export.to_executorch import write as write_executorch
    from export.to_onnx import write as write_onnx
    from export.to_tflite import write as write_tflite

    write, run, suffix, whole = {
        "onnx": (write_onnx, on_onnxruntime, ".onnx", "int64"),
        "tflite": (write_tflite, on_litert, ".tflite", "int32"),
        "executorch": (write_executorch, on_executorch, ".pte", "int64"),
    }[runtime]
    model, inputs = trained(STYLES[name][0]()), inputs_of(name)
    with torch.no_grad():
        expected = tuple(named_outputs(model(*inputs)).values())
    program = torch.export.export(lower(capture(model, inputs)), inputs)
    spec = spec_of(inputs, expected, whole=whole)
    given = run(write(program, folder / f"model{suffix}", spec=spec, scheme="fp32"), inputs)
    return max(
        float(np.abs(got - want.numpy()).max() / want.abs().max())
        for got, want in zip(given, expected, strict=True)
    )


@pytest.mark.parametrize("name", STYLES)
def test_litert(name: str, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert.interpreter")
    assert error(name, tmp_path, "tflite") < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("name", ["U-Net", "shifted windows", "clip, sound and words"])
def test_onnxruntime(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert error(name, tmp_path, "onnx") < LIMIT


@pytest.mark.slow
@pytest.mark.parametrize("name", ["temporal shift", "octave convolution"])
def test_executorch(name: str, tmp_path: Path) -> None:
    pytest.importorskip("executorch.runtime")
    assert error(name, tmp_path, "executorch") < LIMIT
